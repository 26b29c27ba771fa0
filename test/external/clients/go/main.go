// Clients on the Go SDK, driven by lines of JSON on standard input; see ../driver.ts.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"
)

const callback = "http://127.0.0.1/callback"

type command struct {
	ID     int            `json:"id"`
	Op     string         `json:"op"`
	Client int            `json:"client"`
	Mode   string         `json:"mode"`
	URL    string         `json:"url"`
	Token  string         `json:"token"`
	Reply  string         `json:"reply"`
	Name   string         `json:"name"`
	Args   map[string]any `json:"args"`
	URI    string         `json:"uri"`
	Call   int            `json:"call"`
	Visits bool           `json:"visits"`
}

type driver struct {
	mu       sync.Mutex
	sessions map[int]*mcp.ClientSession
	calls    map[int]context.CancelFunc
	visits   map[int]chan struct{}
}

// The time limit for closing a session that the server lost.
const closeTimeout = 3 * time.Second

func main() {
	d := &driver{sessions: map[int]*mcp.ClientSession{}, calls: map[int]context.CancelFunc{}, visits: map[int]chan struct{}{}}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var c command
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			panic(err)
		}
		go func() {
			result, err := d.execute(c)
			if err != nil {
				d.send(map[string]any{"id": c.ID, "error": describe(err)})
			} else {
				d.send(map[string]any{"id": c.ID, "result": result})
			}
		}()
	}
}

func (d *driver) send(message map[string]any) {
	text, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Println(string(text))
}

func (d *driver) session(client int) *mcp.ClientSession {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sessions[client]
}

func (d *driver) execute(c command) (any, error) {
	ctx := context.Background()
	if c.Op == "connect" {
		return nil, d.connect(ctx, c)
	}
	if c.Op == "cancel" {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.calls[c.Call]()
		return nil, nil
	}
	if c.Op == "visited" {
		d.mu.Lock()
		defer d.mu.Unlock()
		close(d.visits[c.Client])
		return nil, nil
	}
	session := d.session(c.Client)
	switch c.Op {
	case "session":
		if session.ID() == "" {
			return nil, nil
		}
		return session.ID(), nil
	case "list":
		return list(ctx, session)
	case "call":
		return d.call(ctx, session, c)
	case "watch":
		return nil, session.Subscribe(ctx, &mcp.SubscribeParams{URI: c.URI})
	case "close":
		return nil, closeSession(session)
	}
	return nil, fmt.Errorf("unknown op %q", c.Op)
}

func (d *driver) connect(ctx context.Context, c command) error {
	clientOptions := &mcp.ClientOptions{
		CreateMessageHandler: func(context.Context, *mcp.CreateMessageRequest) (*mcp.CreateMessageResult, error) {
			content := &mcp.TextContent{Text: c.Reply}
			return &mcp.CreateMessageResult{Role: "assistant", Model: "none", Content: content}, nil
		},
		ElicitationHandler: func(_ context.Context, request *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			if request.Params.Mode == "url" {
				d.visit(c.Client, request.Params.URL)
				return &mcp.ElicitResult{Action: "accept"}, nil
			}
			return &mcp.ElicitResult{Action: "accept", Content: fill(request.Params.RequestedSchema, c.Reply)}, nil
		},
		ResourceUpdatedHandler: func(_ context.Context, request *mcp.ResourceUpdatedNotificationRequest) {
			d.send(map[string]any{"client": c.Client, "updated": request.Params.URI})
		},
		ProgressNotificationHandler: func(_ context.Context, request *mcp.ProgressNotificationClientRequest) {
			d.send(map[string]any{"id": request.Params.ProgressToken, "progress": request.Params.Progress})
		},
	}
	if c.Visits {
		elicitation := &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}}
		clientOptions.Capabilities = &mcp.ClientCapabilities{Elicitation: elicitation}
	}
	if c.Visits && c.Mode == "legacy" {
		clientOptions.ElicitationHandler = nil
		clientOptions.Capabilities = nil
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "agent", Version: "1.0.0"}, clientOptions)
	// The latest revision with `initialize`. The SDK's default negotiates the revision with the server.
	options := &mcp.ClientSessionOptions{}
	if c.Mode == "legacy" {
		options.ProtocolVersion = "2025-11-25"
	}
	transport := &mcp.StreamableClientTransport{Endpoint: c.URL}
	if c.Token != "" {
		transport.HTTPClient = &http.Client{Transport: bearer(c.Token)}
	} else {
		handler, err := signIn()
		if err != nil {
			return err
		}
		transport.OAuthHandler = handler
	}
	session, err := client.Connect(ctx, transport, options)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.sessions[c.Client] = session
	return nil
}

// visit lets the user open a URL, and waits until the user is done.
func (d *driver) visit(client int, url string) {
	done := make(chan struct{})
	d.mu.Lock()
	d.visits[client] = done
	d.mu.Unlock()
	d.send(map[string]any{"client": client, "opened": url})
	<-done
}

// describe adds the data of a JSON-RPC error, which has the URLs that the user must open.
func describe(err error) string {
	var rpcErr *jsonrpc.Error
	if errors.As(err, &rpcErr) {
		return err.Error() + " " + string(rpcErr.Data)
	}
	return err.Error()
}

func list(ctx context.Context, session *mcp.ClientSession) ([]string, error) {
	result, err := session.ListTools(ctx, nil)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for _, tool := range result.Tools {
		names = append(names, tool.Name)
	}
	return names, nil
}

func (d *driver) call(ctx context.Context, session *mcp.ClientSession, c command) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.mu.Lock()
	d.calls[c.ID] = cancel
	d.mu.Unlock()
	params := &mcp.CallToolParams{Name: c.Name, Arguments: c.Args}
	params.SetProgressToken(c.ID)
	result, err := session.CallTool(ctx, params)
	if err != nil {
		return "", err
	}
	var text strings.Builder
	for _, block := range result.Content {
		if part, ok := block.(*mcp.TextContent); ok {
			text.WriteString(part.Text)
		}
	}
	return text.String(), nil
}

func closeSession(session *mcp.ClientSession) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Fails for a session that the server lost.
		_ = session.Close()
	}()
	select {
	case <-done:
		return nil
	case <-time.After(closeTimeout):
		return fmt.Errorf("timeout while closing the session")
	}
}

func fill(schema any, reply string) map[string]any {
	content := map[string]any{}
	object, _ := schema.(map[string]any)
	properties, _ := object["properties"].(map[string]any)
	for name := range properties {
		content[name] = reply
	}
	return content
}

// bearer is a transport that sends every request with this token.
type bearer string

func (b bearer) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Set("Authorization", "Bearer "+string(b))
	return http.DefaultTransport.RoundTrip(request)
}

// signIn is the SDK's OAuth flow, with a user who has no browser.
func signIn() (auth.OAuthHandler, error) {
	return auth.NewAuthorizationCodeHandler(&auth.AuthorizationCodeHandlerConfig{
		DynamicClientRegistrationConfig: &auth.DynamicClientRegistrationConfig{
			Metadata: &oauthex.ClientRegistrationMetadata{ClientName: "agent", RedirectURIs: []string{callback}},
		},
		RedirectURL:              callback,
		AuthorizationCodeFetcher: visit,
	})
}

// visit opens the authorization endpoint, which redirects back at once.
func visit(_ context.Context, args *auth.AuthorizationArgs) (*auth.AuthorizationResult, error) {
	response, err := http.DefaultTransport.RoundTrip(mustGet(args.URL))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	back, err := response.Location()
	if err != nil {
		return nil, err
	}
	query := back.Query()
	return &auth.AuthorizationResult{Code: query.Get("code"), State: query.Get("state"), Iss: query.Get("iss")}, nil
}

func mustGet(url string) *http.Request {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		panic(err)
	}
	return request
}
