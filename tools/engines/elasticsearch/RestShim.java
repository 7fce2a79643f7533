import java.io.IOException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Predicate;
import java.util.function.Supplier;
import org.elasticsearch.ElasticsearchException;
import org.elasticsearch.Version;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.action.admin.indices.create.AutoCreateAction;
import org.elasticsearch.action.admin.indices.create.CreateIndexRequest;
import org.elasticsearch.action.bulk.BulkRequest;
import org.elasticsearch.action.delete.DeleteRequest;
import org.elasticsearch.action.search.ClearScrollRequest;
import org.elasticsearch.action.search.SearchRequest;
import org.elasticsearch.action.search.SearchResponse;
import org.elasticsearch.action.search.SearchScrollRequest;
import org.elasticsearch.action.support.WriteRequest;
import org.elasticsearch.client.internal.node.NodeClient;
import org.elasticsearch.cluster.ClusterState;
import org.elasticsearch.cluster.ClusterStateUpdateTask;
import org.elasticsearch.cluster.metadata.DataStream;
import org.elasticsearch.cluster.metadata.IndexNameExpressionResolver;
import org.elasticsearch.cluster.metadata.MetadataDataStreamsService;
import org.elasticsearch.cluster.node.DiscoveryNodes;
import org.elasticsearch.cluster.service.ClusterService;
import org.elasticsearch.common.Strings;
import org.elasticsearch.common.io.stream.NamedWriteableRegistry;
import org.elasticsearch.common.regex.Regex;
import org.elasticsearch.common.settings.ClusterSettings;
import org.elasticsearch.common.settings.IndexScopedSettings;
import org.elasticsearch.common.settings.Settings;
import org.elasticsearch.common.settings.SettingsFilter;
import org.elasticsearch.core.CheckedConsumer;
import org.elasticsearch.core.TimeValue;
import org.elasticsearch.features.NodeFeature;
import org.elasticsearch.index.Index;
import org.elasticsearch.plugins.ActionPlugin;
import org.elasticsearch.plugins.Plugin;
import org.elasticsearch.rest.BaseRestHandler;
import org.elasticsearch.rest.RestChannel;
import org.elasticsearch.rest.RestController;
import org.elasticsearch.rest.RestHandler;
import org.elasticsearch.rest.RestRequest;
import org.elasticsearch.rest.RestRequest.Method;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;
import org.elasticsearch.rest.action.RestActions;
import org.elasticsearch.search.SearchHit;
import org.elasticsearch.search.builder.SearchSourceBuilder;
import org.elasticsearch.xcontent.XContentBuilder;

/**
 * Test harness only. The modules rest-root, data-streams and reindex are not published, so this stands in for their REST
 * routes, over what the real server core does: GET /, GET|PUT|DELETE /_data_stream, POST /{index}/_delete_by_query.
 */
public final class RestShim extends Plugin implements ActionPlugin {
    private ClusterService cluster;

    @Override
    public Collection<?> createComponents(PluginServices services) {
        cluster = services.clusterService();
        return List.of();
    }

    @Override
    public Collection<RestHandler> getRestHandlers(Settings settings, NamedWriteableRegistry names, RestController controller,
        ClusterSettings clusterSettings, IndexScopedSettings indexSettings, SettingsFilter filter, IndexNameExpressionResolver resolver,
        Supplier<DiscoveryNodes> nodes, Predicate<NodeFeature> features) {
        return List.of(
            handler("shim_root", List.of(new RestHandler.Route(Method.GET, "/"), new RestHandler.Route(Method.HEAD, "/")), this::root),
            handler("shim_ds_get", List.of(new RestHandler.Route(Method.GET, "/_data_stream"), new RestHandler.Route(Method.GET, "/_data_stream/{name}")), this::get),
            handler("shim_ds_put", List.of(new RestHandler.Route(Method.PUT, "/_data_stream/{name}")), this::put),
            handler("shim_ds_delete", List.of(new RestHandler.Route(Method.DELETE, "/_data_stream/{name}")), this::delete),
            handler("shim_dbq", List.of(new RestHandler.Route(Method.POST, "/{index}/_delete_by_query")), this::deleteByQuery));
    }

    private CheckedConsumer<RestChannel, Exception> root(RestRequest r, NodeClient client) {
        return ch -> reply(ch, RestStatus.OK, b -> {
            b.field("name", cluster.getNodeName()).field("cluster_name", cluster.getClusterName().value());
            b.field("cluster_uuid", cluster.state().metadata().clusterUUID());
            b.startObject("version").field("number", Version.CURRENT.toString()).field("build_flavor", "default").field("build_type", "unknown");
            b.field("build_hash", "unknown").field("build_date", "1970-01-01T00:00:00Z").field("build_snapshot", false);
            b.field("lucene_version", org.apache.lucene.util.Version.LATEST.toString());
            b.field("minimum_wire_compatibility_version", "7.17.0").field("minimum_index_compatibility_version", "7.0.0").endObject();
            b.field("tagline", "You Know, for Search");
        });
    }

    private CheckedConsumer<RestChannel, Exception> get(RestRequest r, NodeClient client) {
        String name = r.param("name", "*");
        return ch -> {
            List<DataStream> found = matching(cluster.state(), name);
            if (found.isEmpty() && !Regex.isSimpleMatchPattern(name)) {
                missing(ch, name);
                return;
            }
            reply(ch, RestStatus.OK, b -> {
                b.startArray("data_streams");
                for (DataStream ds : found) {
                    b.startObject().field("name", ds.getName());
                    b.startObject("timestamp_field").field("name", DataStream.TIMESTAMP_FIELD_NAME).endObject();
                    b.startArray("indices");
                    for (Index i : ds.getIndices()) {
                        b.startObject().field("index_name", i.getName()).field("index_uuid", i.getUUID()).endObject();
                    }
                    b.endArray().field("generation", ds.getGeneration()).field("status", "GREEN").field("hidden", ds.isHidden());
                    b.field("system", ds.isSystem()).field("allow_custom_routing", ds.isAllowCustomRouting()).field("replicated", ds.isReplicated());
                    b.endObject();
                }
                b.endArray();
            });
        };
    }

    private CheckedConsumer<RestChannel, Exception> put(RestRequest r, NodeClient client) {
        CreateIndexRequest req = new CreateIndexRequest(r.param("name"));
        return ch -> {
            if (matching(cluster.state(), req.index()).isEmpty() == false) {
                throw new IllegalArgumentException("data_stream [" + req.index() + "] already exists");
            }
            client.execute(AutoCreateAction.INSTANCE, req, on(ch, ok -> acknowledged(ch)));
        };
    }

    private CheckedConsumer<RestChannel, Exception> delete(RestRequest r, NodeClient client) {
        String name = r.param("name");
        return ch -> {
            if (matching(cluster.state(), name).isEmpty() && !Regex.isSimpleMatchPattern(name)) {
                missing(ch, name);
                return;
            }
            cluster.submitUnbatchedStateUpdateTask("shim-delete-data-stream", new ClusterStateUpdateTask(TimeValue.timeValueSeconds(30)) {
                @Override
                public ClusterState execute(ClusterState state) {
                    return MetadataDataStreamsService.deleteDataStreams(state, new HashSet<>(matching(state, name)), Settings.EMPTY);
                }

                @Override
                public void onFailure(Exception e) {
                    fail(ch, e);
                }

                @Override
                public void clusterStateProcessed(ClusterState before, ClusterState after) {
                    acknowledged(ch);
                }
            });
        };
    }

    private CheckedConsumer<RestChannel, Exception> deleteByQuery(RestRequest r, NodeClient client) throws IOException {
        boolean refresh = r.paramAsBoolean("refresh", false);
        long most = r.paramAsLong("max_docs", Long.MAX_VALUE);
        SearchSourceBuilder source = new SearchSourceBuilder().size((int) Math.min(r.paramAsInt("scroll_size", 1000), most)).version(false).fetchSource(false);
        r.withContentOrSourceParamParserOrNull(p -> {
            if (p != null) {
                source.query(RestActions.getQueryContent(p));
            }
        });
        if (source.query() == null) {
            throw new IllegalArgumentException("query is missing");
        }
        SearchRequest search = new SearchRequest(Strings.splitStringByCommaToArray(r.param("index")), source).scroll(TimeValue.timeValueMinutes(1));
        long start = System.nanoTime();
        return ch -> client.search(search, on(ch, page -> deletePage(client, ch, page, refresh, 0, most, start)));
    }

    private static void deletePage(NodeClient client, RestChannel ch, SearchResponse page, boolean refresh, long deleted, long most, long start) {
        String scroll = page.getScrollId();
        SearchHit[] hits = page.getHits().getHits();
        if (hits.length == 0 || deleted >= most) {
            ClearScrollRequest clear = new ClearScrollRequest();
            clear.addScrollId(scroll);
            client.clearScroll(clear, ActionListener.noop());
            reply(ch, RestStatus.OK, b -> b.field("took", (System.nanoTime() - start) / 1_000_000).field("timed_out", false).field("total", deleted)
                .field("deleted", deleted).field("version_conflicts", 0).startArray("failures").endArray());
            return;
        }
        BulkRequest bulk = new BulkRequest();
        bulk.setRefreshPolicy(refresh ? WriteRequest.RefreshPolicy.IMMEDIATE : WriteRequest.RefreshPolicy.NONE);
        long some = Math.min(hits.length, most - deleted);
        for (SearchHit h : java.util.Arrays.asList(hits).subList(0, (int) some)) {
            bulk.add(new DeleteRequest(h.getIndex(), h.getId()));
        }
        client.bulk(bulk, on(ch, done -> {
            if (done.hasFailures()) {
                throw new ElasticsearchException(done.buildFailureMessage());
            }
            client.searchScroll(new SearchScrollRequest(scroll).scroll(TimeValue.timeValueMinutes(1)),
                on(ch, next -> deletePage(client, ch, next, refresh, deleted + some, most, start)));
        }));
    }

    private static List<DataStream> matching(ClusterState state, String name) {
        List<DataStream> out = new ArrayList<>();
        for (DataStream ds : state.metadata().dataStreams().values()) {
            if (name.equals("_all") || Regex.simpleMatch(Strings.splitStringByCommaToArray(name), ds.getName())) {
                out.add(ds);
            }
        }
        return out;
    }

    private interface Body {
        void write(XContentBuilder b) throws IOException;
    }

    private interface Then<T> {
        void accept(T t) throws Exception;
    }

    private interface Prepare {
        CheckedConsumer<RestChannel, Exception> prepare(RestRequest r, NodeClient c) throws IOException;
    }

    private static <T> ActionListener<T> on(RestChannel ch, Then<T> then) {
        return ActionListener.wrap(then::accept, e -> fail(ch, e));
    }

    private static void acknowledged(RestChannel ch) {
        reply(ch, RestStatus.OK, b -> b.field("acknowledged", true));
    }

    private static void missing(RestChannel ch, String name) {
        fail(ch, new org.elasticsearch.index.IndexNotFoundException(name));
    }

    private static void reply(RestChannel ch, RestStatus status, Body body) {
        try {
            XContentBuilder b = ch.newBuilder().startObject();
            body.write(b);
            ch.sendResponse(new RestResponse(status, b.endObject()));
        } catch (IOException e) {
            fail(ch, e);
        }
    }

    private static void fail(RestChannel ch, Exception e) {
        try {
            ch.sendResponse(new RestResponse(ch, e));
        } catch (IOException e2) {
            throw new java.io.UncheckedIOException(e2);
        }
    }

    private static BaseRestHandler handler(String name, List<RestHandler.Route> routes, Prepare prepare) {
        return new BaseRestHandler() {
            @Override
            public String getName() {
                return name;
            }

            @Override
            public List<RestHandler.Route> routes() {
                return routes;
            }

            @Override
            protected Set<String> responseParams() {
                return Set.of("conflicts", "wait_for_completion", "expand_wildcards", "ignore_unavailable", "allow_no_indices", "master_timeout");
            }

            @Override
            protected RestChannelConsumer prepareRequest(RestRequest request, NodeClient client) throws IOException {
                return prepare.prepare(request, client)::accept;
            }
        };
    }
}
