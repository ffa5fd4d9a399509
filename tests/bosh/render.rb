#!/usr/bin/env ruby
# Renders a job as BOSH would: a request in JSON on stdin, an answer in JSON on stdout.
#
#   {"job": FOLDER, "properties": {…}, "spec": {…}, "links": {NAME: {"properties": {…}, "instances": […]}}}
#   -> {"files": {PATH: TEXT}, "asked": [PROPERTY], "known": [PROPERTY]} or {"error": SENTENCE}

require 'json'
require_relative 'templates'

request = JSON.parse($stdin.read)
begin
  job = Bosh::Job.new(request['job'])
  files, asked = job.render(request['properties'] || {}, request['spec'] || {}, request['links'] || {})
  puts JSON.generate('files' => files, 'asked' => asked, 'known' => job.spec['properties'].keys)
rescue RuntimeError => error
  puts JSON.generate('error' => error.message)
end
