import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** Java's own client with its defaults: it offers HTTP/2, and reads proxy and trust store from system properties. */
class HttpClientCall {
    public static void main(String[] args) throws Exception {
        var env = System.getenv();
        var request = HttpRequest.newBuilder(URI.create(env.get("URL")))
            .header("Authorization", "Bearer " + env.get("TOKEN"))
            .header("Content-Type", "application/json")
            .header("Accept", "application/json, text/event-stream")
            .POST(HttpRequest.BodyPublishers.ofString(env.get("BODY")))
            .build();
        var response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.discarding());
        System.out.println(response.statusCode());
        System.exit(0);
    }
}
