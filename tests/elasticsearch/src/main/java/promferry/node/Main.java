package promferry.node;

import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.elasticsearch.bootstrap.BootstrapInfo;
import org.elasticsearch.common.logging.LogConfigurator;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.env.Environment;
import org.elasticsearch.http.HttpServerTransport;
import org.elasticsearch.node.InternalSettingsPreparer;
import org.elasticsearch.node.Node;
import org.elasticsearch.plugins.PluginsLoader;

/**
 * Starts one node in this process: {@code Main HOME CONFIG URL_FILE [KEY=VALUE]...}.
 *
 * <p>The stock launcher expects a full distribution with its own Java, an agent and a command line in front of it.
 * This does the same last steps: settings, logging, modules, node. URL_FILE appears, complete, once the node answers.
 */
public final class Main {
    private static final String NODE_NAME = "promferry-test";

    private Main() {}

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        Path config = Path.of(args[1]);
        Path urlFile = Path.of(args[2]);
        Settings.Builder settings = Settings.builder().put(Environment.PATH_HOME_SETTING.getKey(), home);
        for (int i = 3; i < args.length; i++) {
            String[] pair = args[i].split("=", 2);
            if (pair.length != 2) {
                throw new IllegalArgumentException("setting [" + args[i] + "] is not KEY=VALUE");
            }
            settings.put(pair[0], pair[1]);
        }

        BootstrapInfo.init();
        LogConfigurator.registerErrorListener();
        LogConfigurator.configureESLogging();
        Environment environment = InternalSettingsPreparer.prepareEnvironment(settings.build(), Map.of(), config, () -> NODE_NAME);
        LogConfigurator.setNodeName(NODE_NAME);
        LogConfigurator.configure(environment, true);

        var modules = PluginsLoader.loadModulesBundles(environment.modulesDir(), false);
        Node node = new Node(environment, PluginsLoader.createPluginsLoader(modules, Set.of(), Map.of(), false));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(node)));
        // Returns when the node has bound its ports and elected itself.
        node.start();
        announce(node, urlFile);
        // The node's own threads do not keep the process alive. A signal ends it.
        new CountDownLatch(1).await();
    }

    private static void announce(Node node, Path urlFile) throws Exception {
        var address = node.injector().getInstance(HttpServerTransport.class).info().getAddress().publishAddress();
        Path unfinished = urlFile.resolveSibling(urlFile.getFileName() + ".new");
        Files.writeString(unfinished, "http://" + address + "\n");
        Files.move(unfinished, urlFile, StandardCopyOption.ATOMIC_MOVE);
    }

    private static void close(Node node) {
        try {
            node.close();
        } catch (Exception e) {
            System.err.println("the node did not close cleanly: " + e);
        }
    }
}
