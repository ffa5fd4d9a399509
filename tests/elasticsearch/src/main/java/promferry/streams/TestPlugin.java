package promferry.streams;

import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.common.settings.Setting;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.IndexSettingProvider;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.transport.netty4.Netty4Plugin;

/**
 * The node's HTTP, and what a client that writes to data streams misses without the stock data-streams module, which
 * is in no public repository. It is a Netty4Plugin so that the node has one module to load.
 */
public final class TestPlugin extends Netty4Plugin implements ActionPlugin {
    private PluginServices services;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        this.services = services;
        return super.createComponents(services);
    }

    @Override
    public List<Setting<?>> getSettings() {
        var settings = new ArrayList<Setting<?>>(super.getSettings());
        settings.add(TimeSeriesSettings.LOOK_AHEAD);
        settings.add(TimeSeriesSettings.LOOK_BACK);
        return settings;
    }

    @Override
    public Collection<IndexSettingProvider> getAdditionalIndexSettingProviders(IndexSettingProvider.Parameters parameters) {
        return List.of(new TimeSeriesSettings());
    }

    @Override
    public Collection<RestHandler> getRestHandlers(
        RestHandlersServices rest, Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
        return List.of(new DataStreamHandler(services), new RootHandler(services));
    }
}
