# How BOSH fills in a job's templates: as much of its semantics as ERB files can see, and stricter where a mistake would pass
# unseen. Source of the rules: https://bosh.io/docs/jobs/#properties and https://bosh.io/docs/links/.
#
# Stricter than BOSH: a property that the job's spec does not have is an error, in a template and in a manifest alike.

require 'erb'
require 'ostruct'
require 'shellwords'
require 'yaml'

module Bosh
  class UnknownProperty < StandardError; end

  # Looks `a.b.c` up in nested hashes; nil where any part is missing.
  def self.dig(values, name)
    name.split('.').reduce(values) { |value, key| value.is_a?(Hash) ? value[key] : nil }
  end

  # What `if_p` and `if_link` give: the block behind `.else` runs where theirs did not.
  class Otherwise
    def initialize(context, is_open)
      @context = context
      @is_open = is_open
    end

    def else
      yield if @is_open
    end

    def else_if_p(*names, &block)
      @is_open ? @context.if_p(*names, &block) : self
    end

    def else_if_link(name, &block)
      @is_open ? @context.if_link(name, &block) : self
    end
  end

  # Properties, as `p` and `if_p` see them.
  module Properties
    def p(names, *default)
      found = Array(names).map { |name| look_up(name) }.find { |value| !value.nil? }
      return found unless found.nil?
      return default.first unless default.empty?

      raise UnknownProperty, "Can't find property '#{Array(names).join("', or '")}'"
    end

    def if_p(*names)
      values = names.map { |name| look_up(name) }
      return Otherwise.new(self, true) if values.any?(&:nil?)

      yield(*values)
      Otherwise.new(self, false)
    end
  end

  # One instance of a link.
  class LinkInstance
    include Properties
    attr_reader :name, :index, :id, :az, :address, :bootstrap

    def initialize(values)
      @name, @index, @id, @az, @address, @bootstrap = values.values_at('name', 'index', 'id', 'az', 'address', 'bootstrap')
      @properties = values['properties']
    end

    private

    def look_up(name) = Bosh.dig(@properties, name)
  end

  # A link: properties and instances of its provider.
  class Link
    include Properties
    attr_reader :instances

    def initialize(values)
      @properties = values['properties'] || {}
      @instances = (values['instances'] || []).map { |instance| LinkInstance.new(instance) }
    end

    private

    def look_up(name) = Bosh.dig(@properties, name)
  end

  # What a template is evaluated in.
  class Context
    include Properties
    attr_reader :spec, :name, :index

    # Names of the properties that templates asked for.
    attr_reader :asked

    def initialize(job, properties, spec, links)
      @job = job
      @properties = properties
      @links = links
      @spec = Context.open_struct(spec)
      @name = spec['name']
      @index = spec['index']
      @asked = []
    end

    def link(name)
      given = linked(name) or raise "Can't find link '#{name}'"
      Link.new(given)
    end

    def if_link(name)
      given = linked(name) or return Otherwise.new(self, true)
      yield Link.new(given)
      Otherwise.new(self, false)
    end

    def evaluate(path)
      ERB.new(File.read(path), trim_mode: '-').tap { |erb| erb.filename = path }.result(binding)
    end

    def self.open_struct(value)
      case value
      when Hash then OpenStruct.new(value.transform_values { |inner| open_struct(inner) })
      when Array then value.map { |inner| open_struct(inner) }
      else value
      end
    end

    private

    def linked(name)
      consumed = (@job['consumes'] || []).find { |link| link['name'] == name } or raise "the spec consumes no link '#{name}'"
      given = @links[name]
      raise "the link '#{name}' is not optional" if given.nil? && !consumed['optional']

      given
    end

    def look_up(name)
      @job['properties'].key?(name) or raise "the spec has no property '#{name}'"
      @asked |= [name]
      Bosh.dig(@properties, name)
    end
  end

  # A job's folder in a release.
  class Job
    attr_reader :spec

    def initialize(folder)
      @folder = folder
      @spec = YAML.safe_load(File.read(File.join(folder, 'spec')))
    end

    # All files of the job by their paths; raises with BOSH's words around those of the template.
    def render(properties, spec, links)
      unknown = leaves(properties) - @spec['properties'].keys
      raise "the spec has no property '#{unknown.first}'" unless unknown.empty?

      context = Context.new(@spec, with_defaults(properties), spec, links)
      files = { 'monit' => fill_in(context, 'monit') }
      @spec['templates'].each { |source, target| files[target] = fill_in(context, "templates/#{source}") }
      [files, context.asked]
    end

    private

    def fill_in(context, source)
      context.evaluate(File.join(@folder, source))
    rescue StandardError, SyntaxError => error
      line = error.backtrace&.grep(/#{Regexp.escape(source)}:/)&.first.to_s[/:(\d+)/, 1]
      raise "Error filling in template '#{File.basename(source)}' (line #{line || 'unknown'}: #{error.message})"
    end

    def with_defaults(properties)
      @spec['properties'].each_with_object({}) do |(name, property), all|
        value = Bosh.dig(properties, name)
        value = property['default'] if value.nil?
        *above, last = name.split('.')
        above.reduce(all) { |hash, key| hash[key] ||= {} }[last] = value
      end
    end

    # The properties that a manifest sets: paths down to what the spec knows as one.
    def leaves(values, prefix = nil)
      values.flat_map do |key, value|
        name = [prefix, key].compact.join('.')
        next [name] if @spec['properties'].key?(name) || !value.is_a?(Hash)

        leaves(value, name)
      end
    end
  end
end
