import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.apache.catalina.startup.Tomcat;

/** Reports each request that Tomcat reads, as JSON on a line of standard output. The first line is the port. Writes to its working directory. */
@SuppressWarnings("deprecation")
public class Reader {
  public static void main(String[] args) throws Exception {
    Logger.getLogger("").setLevel(Level.OFF);
    Tomcat tomcat = new Tomcat();
    tomcat.setBaseDir(".");
    tomcat.setPort(0);
    tomcat.getConnector().setProperty("address", "127.0.0.1");
    var context = tomcat.addContext("", null);
    Tomcat.addServlet(context, "reader", new Servlet());
    context.addServletMappingDecoded("/", "reader");
    tomcat.start();
    System.out.println(tomcat.getConnector().getLocalPort());
    tomcat.getServer().await();
  }

  static class Servlet extends HttpServlet {
    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
      String body = new String(request.getInputStream().readAllBytes(), StandardCharsets.ISO_8859_1);
      String query = request.getQueryString();
      String url = request.getRequestURI() + (query == null ? "" : "?" + query);
      String line = "{\"method\":" + quote(request.getMethod()) + ",\"url\":" + quote(url) + ",\"body\":" + quote(body) + "}";
      synchronized (Reader.class) {
        System.out.println(line);
      }
      response.getOutputStream().print("ok");
    }
  }

  static String quote(String text) {
    StringBuilder quoted = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      if (c < ' ' || c > '~' || c == '"' || c == '\\') quoted.append(String.format("\\u%04x", (int) c));
      else quoted.append(c);
    }
    return quoted.append('"').toString();
  }
}
