package dev.cambist;

import java.util.ArrayList;
import java.util.List;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.context.annotation.Bean;
import org.springframework.security.oauth2.server.authorization.authentication.OAuth2TokenExchangeAuthenticationToken;
import org.springframework.security.oauth2.server.authorization.token.JwtEncodingContext;
import org.springframework.security.oauth2.server.authorization.token.OAuth2TokenCustomizer;

/** Spring Authorization Server as it comes, and for one client with the customizer that makes an exchange mean something. */
@SpringBootApplication
public class Server {
  /** The one client whose tokens are for whom the request names; the rules for who may ask for whom are a deployment's own. */
  private static final String CUSTOMIZED = "cambist-customized";

  public static void main(String[] args) {
    SpringApplication.run(Server.class, args);
  }

  @Bean
  OAuth2TokenCustomizer<JwtEncodingContext> audienceOfTheRequest() {
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
