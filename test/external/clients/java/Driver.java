// Clients on the Java SDK, driven by lines of JSON on standard input; see ../driver.ts.

import io.modelcontextprotocol.client.McpClient;
import io.modelcontextprotocol.client.McpSyncClient;
import io.modelcontextprotocol.client.transport.HttpClientStreamableHttpTransport;
import io.modelcontextprotocol.client.transport.McpHttpClientTransportAuthorizationException;
import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.json.McpJsonMapper;
import io.modelcontextprotocol.spec.McpSchema;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;

public class Driver {
  private static final McpJsonMapper JSON = McpJsonDefaults.getMapper();
  private static final PrintStream OUT = new PrintStream(System.out, true, StandardCharsets.UTF_8);
  private static final Map<Object, McpSyncClient> CLIENTS = new ConcurrentHashMap<>();

  public static void main(String[] args) throws Exception {
    ExecutorService threads = Executors.newCachedThreadPool();
    var lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      Map<?, ?> command = JSON.readValue(line, Map.class);
      threads.submit(() -> respond(command));
    }
    System.exit(0);
  }

  private static void respond(Map<?, ?> command) {
    try {
      send(command, "result", execute(command));
    } catch (Throwable error) {
      send(command, "error", describe(error));
    }
  }

  private static synchronized void send(Map<?, ?> command, String name, Object value) {
    try {
      String id = JSON.writeValueAsString(command.get("id"));
      OUT.println("{\"id\":" + id + ",\"" + name + "\":" + JSON.writeValueAsString(value) + "}");
    } catch (Exception error) {
      throw new IllegalStateException(error);
    }
  }

  private static Object execute(Map<?, ?> command) {
    Object key = command.get("client");
    switch (command.get("op").toString()) {
      case "connect":
        McpSyncClient opened = open(command.get("url").toString(), command.get("token").toString());
        opened.initialize();
        CLIENTS.put(key, opened);
        return "";
      case "session":
        return "";
      case "list":
        return CLIENTS.get(key).listTools().tools().stream().map(McpSchema.Tool::name).toList();
      case "call":
        @SuppressWarnings("unchecked")
        var arguments = (Map<String, Object>) command.get("args");
        var result = CLIENTS.get(key).callTool(new McpSchema.CallToolRequest(command.get("name").toString(), arguments));
        return result.content().stream()
            .map(part -> part instanceof McpSchema.TextContent text ? text.text() : "")
            .collect(Collectors.joining());
      case "close":
        CLIENTS.remove(key).closeGracefully();
        return "";
      default:
        throw new IllegalArgumentException("unknown op " + command.get("op"));
    }
  }

  private static McpSyncClient open(String url, String token) {
    URI uri = URI.create(url);
    var transport =
        HttpClientStreamableHttpTransport.builder(uri.getScheme() + "://" + uri.getAuthority())
            .endpoint(uri.getPath())
            .httpRequestCustomizer(
                (request, method, target, body, context) -> request.setHeader("Authorization", "Bearer " + token))
            .build();
    return McpClient.sync(transport).requestTimeout(Duration.ofSeconds(20)).build();
  }

  /** The message of every cause, and the status and challenge that the SDK gives the application instead of a body. */
  private static String describe(Throwable error) {
    String text = error.getClass().getSimpleName() + ": " + error.getMessage();
    if (error instanceof McpHttpClientTransportAuthorizationException refused) {
      var response = refused.getResponseInfo();
      text += " (" + response.statusCode() + ", " + response.headers().firstValue("www-authenticate").orElse("") + ")";
    }
    return error.getCause() == null || error.getCause() == error ? text : text + " <- " + describe(error.getCause());
  }
}
