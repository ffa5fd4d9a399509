#!/usr/bin/env ruby
# Renders jobs as BOSH would: a list of requests in JSON on stdin, the list of answers in JSON on stdout.
#
#   {"job": FOLDER, "properties": {…}, "spec": {…}, "links": {NAME: {"properties": {…}, "instances": […]}}}
#   -> {"files": {PATH: TEXT}, "asked": [PROPERTY], "known": [PROPERTY]} or {"error": SENTENCE}

require 'json'
require_relative 'templates'

def answer(request)
  job = Bosh::Job.new(request['job'])
  files, asked = job.render(request['properties'] || {}, request['spec'] || {}, request['links'] || {})
  { 'files' => files, 'asked' => asked, 'known' => job.spec['properties'].keys }
rescue RuntimeError => error
  { 'error' => error.message }
end

requests = JSON.parse($stdin.read)
puts JSON.generate(requests.map { |request| answer(request) })
