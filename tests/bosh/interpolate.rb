#!/usr/bin/env ruby
# Applies ops files to a manifest, as `bosh interpolate` does: interpolate.rb MANIFEST OPS… prints the result in JSON.
#
# As much of https://bosh.io/docs/cli-ops-files/ as our ops files use: `replace` and `remove`; paths of names, `key=value`, whole
# numbers and `-`, with `?` from where on parts may be missing.

require 'json'
require 'yaml'

class Operation
  def initialize(file, operation)
    @file = file
    @type, @path = operation.values_at('type', 'path')
    @value = operation['value']
    refuse("its type is #{@type.inspect}") unless %w[replace remove].include?(@type)
    refuse('it has no value') if @type == 'replace' && !operation.key?('value')
    refuse("it has the unknown keys #{(operation.keys - %w[type path value]).join(', ')}") if operation.keys.any? { |key| !%w[type path value].include?(key) }
  end

  def apply(manifest)
    parts = @path.delete_prefix('/').split('/')
    is_optional = false
    parts = parts.map do |part|
      is_optional ||= part.end_with?('?')
      [part.delete_suffix('?'), is_optional]
    end
    above, last = parts[0..-2], parts[-1]
    into = above.each_with_index.reduce(manifest) do |node, ((name, optional), at)|
      node && step(node, name, optional, parts[at + 1].first)
    end
    return if into.nil?

    @type == 'replace' ? replace(into, *last) : remove(into, *last)
  end

  private

  def refuse(why)
    raise "#{@file}: #{@path}: #{why}"
  end

  # The node below; made where it may be missing, except for a removal.
  def step(node, name, is_optional, next_name)
    at = find(node, name)
    return node[at] if at && (node.is_a?(Array) || node.key?(at))

    refuse("#{name} is not there") unless is_optional
    return nil if @type == 'remove'

    made = next_name == '-' || next_name.include?('=') ? [] : {}
    insert(node, name, made)
    made
  end

  def replace(node, name, is_optional)
    at = find(node, name)
    exists = at && (node.is_a?(Array) || node.key?(at))
    refuse("#{name} is not there") unless exists || is_optional || name == '-'
    exists ? node[at] = @value : insert(node, name, @value)
  end

  def remove(node, name, is_optional)
    at = find(node, name)
    exists = at && (node.is_a?(Array) || node.key?(at))
    return if !exists && is_optional

    refuse("#{name} is not there") unless exists
    node.is_a?(Array) ? node.delete_at(at) : node.delete(at)
  end

  # Where a part leads to in a node: a key or an index; nil where there is none.
  def find(node, name)
    case node
    when Hash
      refuse("#{name} is for a list") if name == '-' || name.include?('=')
      name
    when Array
      next_one = name.match(/\A([^=]+)=(.*)\z/)
      return nil if name == '-'
      return name.to_i if name.match?(/\A\d+\z/) && name.to_i < node.length

      refuse("#{name} is for a mapping") unless next_one
      found = node.each_index.select { |at| node[at].is_a?(Hash) && node[at][next_one[1]].to_s == next_one[2] }
      refuse("#{name} is there #{found.length} times") if found.length > 1
      found.first
    else
      refuse("#{name} is below a single value")
    end
  end

  def insert(node, name, value)
    return node[name] = value if node.is_a?(Hash)

    key, wanted = name.split('=', 2)
    value[key] = wanted if wanted && value.is_a?(Hash) && !value.key?(key)
    node << value
  end
end

manifest, *files = ARGV
result = YAML.safe_load(File.read(manifest), aliases: true)
begin
  files.each do |file|
    operations = YAML.safe_load(File.read(file), aliases: true)
    raise "#{file}: it is no list of operations" unless operations.is_a?(Array)

    operations.each { |operation| Operation.new(File.basename(file), operation).apply(result) }
  end
rescue RuntimeError => error
  abort error.message
end
puts JSON.generate(result)
