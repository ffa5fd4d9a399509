package promferry.streams;

import java.io.IOException;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import org.elasticsearch.ResourceAlreadyExistsException;
import org.elasticsearch.ResourceNotFoundException;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.admin.indices.create.AutoCreateAction;
import org.elasticsearch.action.admin.indices.create.CreateIndexRequest;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.ClusterStateUpdateTask;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.metadata.MetadataDataStreamsService;
import org.elasticsearch.cluster.metadata.MetadataIndexTemplateService;
import org.elasticsearch.cluster.metadata.ProjectMetadata;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.regex.Regex;
import org.elasticsearch.index.IndexMode;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestChannel;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestRequest.Method;

/** {@code PUT}, {@code GET} and {@code DELETE /_data_stream/NAME}; names may be lists and patterns but for PUT. */
final class DataStreamHandler extends BaseRestHandler {
    private final Plugin.PluginServices services;

    DataStreamHandler(Plugin.PluginServices services) {
        this.services = services;
    }

    @Override
    public String getName() {
        return "promferry_data_stream";
    }

    @Override
    public List<Route> routes() {
        String one = "/_data_stream/{name}";
        return List.of(
            new Route(Method.PUT, one), new Route(Method.DELETE, one), new Route(Method.GET, one),
            new Route(Method.GET, "/_data_stream"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        String name = request.param("name", "*");
        return switch (request.method()) {
            case PUT -> channel -> create(name, client, channel);
            case DELETE -> channel -> delete(name, channel);
            default -> channel -> list(name, channel);
        };
    }

    private void create(String name, NodeClient client, RestChannel channel) {
        ProjectMetadata project = project();
        if (project.dataStreams().containsKey(name)) {
            throw new ResourceAlreadyExistsException("data_stream [" + name + "] already exists");
        }
        // Without this check the action below would make a plain index.
        String template = MetadataIndexTemplateService.findV2Template(project, name, false);
        if (template == null || project.templatesV2().get(template).getDataStreamTemplate() == null) {
            throw new IllegalArgumentException("no matching index template found for data stream [" + name + "]");
        }
        client.execute(AutoCreateAction.INSTANCE, new CreateIndexRequest(name), Answers.acknowledged(channel));
    }

    private void list(String names, RestChannel channel) throws IOException {
        ProjectMetadata project = project();
        var streams = matching(project, names).stream().map(stream -> describe(project, stream)).toList();
        Answers.ok(channel, Map.of("data_streams", streams));
    }

    private static Map<String, Object> describe(ProjectMetadata project, DataStream stream) {
        IndexMode mode = stream.getIndexMode() == null ? IndexMode.STANDARD : stream.getIndexMode();
        return Map.of(
            "name", stream.getName(),
            "generation", stream.getGeneration(),
            "template", String.valueOf(MetadataIndexTemplateService.findV2Template(project, stream.getName(), false)),
            "index_mode", mode.getName(),
            "indices", stream.getIndices().stream().map(index -> Map.of("index_name", index.getName())).toList());
    }

    private void delete(String names, RestChannel channel) {
        ActionListener<Void> answer = Answers.acknowledged(channel);
        var task = new ClusterStateUpdateTask() {
            @Override
            public ClusterState execute(ClusterState state) {
                var project = state.projectState(services.projectResolver().getProjectId());
                var streams = new HashSet<>(matching(project.metadata(), names));
                return MetadataDataStreamsService.deleteDataStreams(project, streams, services.clusterService().getSettings());
            }

            @Override
            public void clusterStateProcessed(ClusterState before, ClusterState after) {
                answer.onResponse(null);
            }

            @Override
            public void onFailure(Exception failure) {
                answer.onFailure(failure);
            }
        };
        services.clusterService().submitUnbatchedStateUpdateTask("delete data streams [" + names + "]", task);
    }

    /** The streams that a comma-separated list of names and patterns means; a plain name must exist. */
    private static List<DataStream> matching(ProjectMetadata project, String names) {
        String[] wanted = Strings.splitStringByCommaToArray(names);
        for (String name : wanted) {
            if (Regex.isSimpleMatchPattern(name) == false && project.dataStreams().containsKey(name) == false) {
                throw new ResourceNotFoundException("no such data stream [" + name + "]");
            }
        }
        return project.dataStreams().values().stream().filter(stream -> Regex.simpleMatch(wanted, stream.getName())).toList();
    }

    private ProjectMetadata project() {
        return services.projectResolver().getProjectMetadata(services.clusterService().state());
    }
}
