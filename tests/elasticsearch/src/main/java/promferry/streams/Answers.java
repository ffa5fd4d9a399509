package promferry.streams;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;
import org.elasticsearch.action.ActionListener;
import org.elasticsearch.rest.RestChannel;
import org.elasticsearch.rest.RestResponse;
import org.elasticsearch.rest.RestStatus;

/** How the handlers here answer: JSON objects, and the node's own form of an error. */
final class Answers {
    private Answers() {}

    static void ok(RestChannel channel, Map<String, ?> body) throws IOException {
        channel.sendResponse(new RestResponse(RestStatus.OK, channel.newBuilder().map(body)));
    }

    static <T> ActionListener<T> acknowledged(RestChannel channel) {
        return ActionListener.wrap(ignored -> ok(channel, Map.of("acknowledged", true)), failure -> {
            try {
                channel.sendResponse(new RestResponse(channel, failure));
            } catch (IOException e) {
                throw new UncheckedIOException(e);
            }
        });
    }
}
