package promferry.streams;

import java.util.List;
import java.util.Map;
import org.elasticsearch.Build;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestRequest;

/** {@code GET /}: the version, by which a client knows what it talks to. */
final class RootHandler extends BaseRestHandler {
    private final Plugin.PluginServices services;

    RootHandler(Plugin.PluginServices services) {
        this.services = services;
    }

    @Override
    public String getName() {
        return "promferry_root";
    }

    @Override
    public List<Route> routes() {
        return List.of(new Route(RestRequest.Method.GET, "/"), new Route(RestRequest.Method.HEAD, "/"));
    }

    @Override
    protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) {
        var body = Map.of(
            "name", services.clusterService().getNodeName(),
            "cluster_name", services.clusterService().getClusterName().value(),
            "version", Map.of("number", Build.current().version(), "build_flavor", Build.current().flavor()),
            "tagline", "You Know, for Search");
        return channel -> Answers.ok(channel, body);
    }
}
