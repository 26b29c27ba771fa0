package dev.cambist;

import java.util.ArrayList;
import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.oauth2.server.authorization.authentication.OAuth2TokenExchangeAuthenticationToken;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;

/** Spring Authorization Server. For one client, a customizer sets the audience of exchanged tokens. */
@SpringBootApplication
public class Server {
  /** The client with the customizer. A real deployment also needs rules for allowed audiences. */
  private static final String CUSTOMIZED = "cambist-customized";

  public static void main(String[] args) {
    SpringApplication.run(Server.class, args);
  }

  @Bean
  OAuth2TokenCustomizer<JwtEncodingContext> requestedAudience() {
    return context -> {
      if (!context.getRegisteredClient().getClientId().equals(CUSTOMIZED)) return;
      if (context.getAuthorizationGrant() instanceof OAuth2TokenExchangeAuthenticationToken exchange) {
        List<String> audience = new ArrayList<>(exchange.getResources());
        audience.addAll(exchange.getAudiences());
        context.getClaims().audience(audience);
      }
    };
  }
}
