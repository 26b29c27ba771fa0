import io.opentelemetry.api.baggage.propagation.W3CBaggagePropagator;
import io.opentelemetry.context.Context;
import io.opentelemetry.context.propagation.TextMapGetter;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;

/** Passes values of baggage through OpenTelemetry: one JSON string a line in, one out. Values have no character that JSON escapes. */
public class Baggage {
  static final TextMapGetter<Map<String, String>> GETTER = new TextMapGetter<>() {
    public Iterable<String> keys(Map<String, String> carrier) {
      return carrier.keySet();
    }

    public String get(Map<String, String> carrier, String key) {
      return carrier.get(key);
    }
  };

  public static void main(String[] args) throws Exception {
    var in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      var received = Map.of("baggage", line.substring(1, line.length() - 1).replace("\\t", "\t"));
      var sent = new HashMap<String, String>();
      var context = W3CBaggagePropagator.getInstance().extract(Context.root(), received, GETTER);
      W3CBaggagePropagator.getInstance().inject(context, sent, (carrier, key, value) -> carrier.put(key, value));
      System.out.println('"' + sent.getOrDefault("baggage", "") + '"');
    }
  }
}
