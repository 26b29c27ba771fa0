// An OpenID provider of zitadel/oidc with the storage of its example. It adds two rules of ZITADEL: it refuses unknown audiences,
// and it refuses the resource parameter.
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

// Not confidential. Contains characters that a client must percent-encode.
const clientSecret = "throwaway+secret%2Fof cambist"

var audiences = []string{"github-mcp", "docs-mcp"}

type rules struct {
	*storage.Storage
}

// Issues JWTs. The clients of the example get opaque tokens, whose audience backends cannot read.
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
