// An OpenID provider made of zitadel/oidc and the storage of its example, with the two rules of ZITADEL itself that the
// example leaves out: an audience has to be known, and no resource is.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"
	"os"
	"slices"

	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// Throwaway, and with characters that a client has to percent-encode.
const clientSecret = "throwaway+secret%2Fof cambist"

var audiences = []string{"github-mcp", "docs-mcp"}

type rules struct {
	*storage.Storage
}

// The example's clients get opaque tokens, in which no backend could see its audience.
type jwtClient struct {
	op.Client
}

func (jwtClient) AccessTokenType() op.AccessTokenType {
	return op.AccessTokenTypeJWT
}

func (r rules) GetClientByClientID(ctx context.Context, clientID string) (op.Client, error) {
	client, err := r.Storage.GetClientByClientID(ctx, clientID)
	if err != nil {
		return nil, err
	}
	return jwtClient{client}, nil
}

func (r rules) ClientCredentials(ctx context.Context, clientID, secret string) (op.Client, error) {
	client, err := r.Storage.ClientCredentials(ctx, clientID, secret)
	if err != nil {
		return nil, err
	}
	return jwtClient{client}, nil
}

func (rules) ValidateTokenExchangeRequest(_ context.Context, request op.TokenExchangeRequest) error {
	if len(request.GetResourses()) > 0 {
		return oidc.ErrInvalidTarget().WithDescription("resource parameter not supported")
	}
	for _, audience := range request.GetAudience() {
		if !slices.Contains(audiences, audience) {
			return oidc.ErrInvalidTarget().WithDescription("audience not found")
		}
	}
	if request.GetRequestedTokenType() == "" {
		request.SetRequestedTokenType(oidc.AccessTokenType)
	}
	request.SetCurrentScopes(request.GetScopes())
	return nil
}

func main() {
	address := os.Args[1]
	storage.RegisterClients(storage.WebClient("cambist", clientSecret))
	issuer := "http://" + address
	quiet := slog.New(slog.DiscardHandler)
	provider := exampleop.SetupServer(issuer, rules{storage.NewStorage(storage.NewUserStore(issuer))}, quiet, false)
	log.Fatal(http.ListenAndServe(address, provider))
}
