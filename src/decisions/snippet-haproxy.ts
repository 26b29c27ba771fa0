import { SECRET_HEADER } from './report.ts';
import type { SnippetFacts, SnippetRoute, Target } from './snippet-facts.ts';
import { addressOf, carriersOf, lines, onePerPath, rewrites } from './snippet-parts.ts';

/** Dot segments, plain or escaped: the backend may read a path outside that of the route. */
const DOT_SEGMENTS = String.raw`(^|/|\\|%2f|%5c)(\.|%2e){1,2}($|/|;|\\|%2f|%5c|%3b)`;

/** The config of HAProxy with an action in Lua that asks cambist. */
export function haproxy(facts: SnippetFacts): string {
  const { decisions, listen, forwardedHeader } = facts;
  const routes = onePerPath(facts.routes);
  return `# HAProxy asks cambist about each request, and puts the issued token in place of the caller's. Needs HAProxy 2.6 or later with Lua.
# file: haproxy.cfg
global
  # Set user and group: HAProxy stays root otherwise.${decisions.socketPath !== undefined ? " The group is that of cambist's Unix socket." : ''}
  lua-load /etc/haproxy/cambist.lua
  # Tokens are large headers.
  tune.bufsize 65536

defaults
  mode http
  # A client that leaves an event stream ends the stream of the backend too.
  option abortonclose
  timeout connect 5s
  timeout http-request 10s
  # Event streams and WebSockets may be silent for long.
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h

frontend agents
  # With TLS: bind :8443 ssl crt FILE
  bind :8080
  acl metadata path -m beg /.well-known/oauth-protected-resource
  # The backend may read these as a path outside of the route's.
  http-request deny deny_status 400 if { path -m reg -i '${DOT_SEGMENTS}' }
  http-request del-header x-forwarded- -m beg
  http-request del-header x-original- -m beg
  http-request del-header forwarded
${lines('  ', forwardedHeader && `http-request del-header ${forwardedHeader}`)}${routes.map(chosen).join('')}  http-request deny deny_status 404 unless metadata || { var(txn.route) -m found }
  http-request lua.cambist unless metadata
  # Without a decision, no request passes. Errors in Lua end here as well.
  http-request deny deny_status 503 unless metadata || { var(txn.allowed) -m bool }
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto https if { ssl_fc }
  http-request set-header X-Forwarded-Proto http unless { ssl_fc }
  use_backend cambist_listen if metadata
  use_backend backend_%[var(txn.route)]
${securely(decisions)}
backend cambist_listen
  server cambist ${serverOf(listen)}
${routes.map(backend).join('')}
# file: cambist.lua
${lua(facts)}`;
}

/** The address of a server, and the files with which HAProxy trusts it and shows who it is. */
function serverOf(target: Target): string {
  const { socketPath, tls } = target;
  const address = socketPath === undefined ? addressOf(target) : `unix@${socketPath}`;
  if (tls === undefined) return address;
  const { name, ca = '@system-ca', certificate } = tls;
  const own = certificate === undefined ? '' : ` crt ${certificate}`;
  return `${address} ssl verify required verifyhost ${name} sni str(${name}) ca-file ${ca}${own}`;
}

const SOCKET = '/run/haproxy/cambist-decisions.sock';

/** The client in Lua shows no certificate, but a server of HAProxy does. */
function securely(decisions: Target): string {
  if (decisions.tls === undefined) return '';
  return `
# Adds TLS to the questions of cambist.lua. A program that can write to the socket gets tokens. With "user" in global, add it to bind.
listen cambist_decisions
  bind unix@${SOCKET} mode 600
  server cambist ${serverOf(decisions)}
`;
}

/** The first route that fits. */
function chosen({ name, host, path }: SnippetRoute): string {
  const paths = path === '/' ? ['path -m beg /'] : [`path ${path}`, `path -m beg ${path}/`];
  const onHost = host === undefined ? '' : ` { req.hdr(host),host_only -m ${hostMatch(host)} }`;
  return paths
    .map(
      (each) => `  http-request set-var(txn.route) str(${name}) if !{ var(txn.route) -m found }${onHost} { ${each} }\n`,
    )
    .join('');
}

function hostMatch(host: string): string {
  return host.startsWith('*.') ? `end -i ${host.slice(1)}` : `str -i ${host}`;
}

function backend(route: SnippetRoute): string {
  const { name, upstream } = route;
  const rules = rewrites(route, '\\1').map(([from, to]) => `http-request replace-path '${from}' '${to}'`);
  return `
backend backend_${name}
${lines('  ', ...rules, `http-request set-header Host ${upstream.host}`)}  server backend ${serverOf(route.backend)}
`;
}

function lua({ decisions, secretFile, timeoutSeconds, routes, routesBy }: SnippetFacts): string {
  const socket = decisions.tls === undefined ? decisions.socketPath : SOCKET;
  const origin = socket === undefined ? `http://${addressOf(decisions)}` : 'http://cambist';
  const named = routesBy === 'name' ? ' .. "/" .. txn:get_var("txn.route")' : '';
  const secret = `
-- Read before HAProxy gives up its rights.
local file = assert(io.open("${secretFile}"))
local secret = file:read("a"):gsub("%s+$", "")
file:close()
`;
  const carriers = carriersOf(routes).map((name) => `"${name}"`);
  return `-- The names of headers are in lower case here.
local CREDENTIALS = { ${carriers.join(', ')} }
-- They are about the connection or the body, and cambist gets neither.
local UNSENT = {
  "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}
local SHOWN = { "cache-control", "content-type", "retry-after", "www-authenticate", "x-request-id" }
${secretFile === undefined ? '' : secret}
local function ask(txn)
  local headers = txn.http:req_get_headers()
  headers["x-forwarded-host"] = headers["host"]
  for _, name in ipairs(UNSENT) do headers[name] = nil end
  headers["x-forwarded-method"] = { txn.f:method() }
  headers["x-forwarded-uri"] = { txn.f:pathq() }
  headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
${lines('  ', secretFile && `headers["${SECRET_HEADER}"] = { secret }`)}  return core.httpclient():get({
    url = "${origin}/forward-auth"${named},
${lines('    ', socket && `dst = "unix@${socket}",`)}    headers = headers,
    timeout = ${timeoutSeconds * 1000},
  })
end

local function refuse(txn, response)
  local reply = txn:reply({ status = 503 })
  -- Without this header, the response is not of a decision.
  if response ~= nil and response.headers ~= nil and response.headers["x-request-id"] then
    reply = txn:reply({ status = response.status, reason = response.reason, body = response.body })
    for _, name in ipairs(SHOWN) do
      for _, value in pairs(response.headers[name] or {}) do reply:add_header(name, value) end
    end
  end
  txn:done(reply)
end

core.register_action("cambist", { "http-req" }, function(txn)
  local response = ask(txn)
  local removed = response.status == 200 and response.headers["x-envoy-auth-headers-to-remove"]
  if not removed then return refuse(txn, response) end
  for name in removed[0]:gmatch("[^,]+") do txn.http:req_del_header(name) end
  for _, name in ipairs(CREDENTIALS) do
    local credential = response.headers[name]
    if credential then txn.http:req_set_header(name, credential[0]) end
  end
  txn.http:req_set_header("x-request-id", response.headers["x-request-id"][0])
  txn:set_var("txn.allowed", true)
end)
`;
}
