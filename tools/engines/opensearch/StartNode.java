import org.codelibs.opensearch.runner.OpenSearchRunner;

/** Starts one node with ingest processors on 127.0.0.1: StartNode FOLDER HTTP-PORT TRANSPORT-PORT. The runner by itself starts one without, on ports of its own. */
public final class StartNode {
    public static void main(String[] args) throws Exception {
        OpenSearchRunner runner = new OpenSearchRunner();
        runner.onBuild((number, settings) -> {
            settings.put("http.port", args[1]);
            settings.put("transport.port", args[2]);
            settings.put("network.host", "127.0.0.1");
            settings.putList("node.roles", "cluster_manager", "data", "ingest");
            settings.put("cluster.routing.allocation.disk.threshold_enabled", false); // the disk of a machine for tests may be nearly full
        });
        runner.build(OpenSearchRunner.newConfigs().basePath(args[0]).numOfNode(1).useLogger());
        Thread.currentThread().join();
    }
}
