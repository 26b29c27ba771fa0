import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { snippetFacts } from '../../../src/decisions/snippet-facts.ts';
import { SNIPPETS, type SnippetKind } from '../../../src/decisions/snippets.ts';
import { configOf, type RunningApp, startTestApp } from '../../harness/app.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { clientOf } from '../../harness/gateway.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts, temporaryFolder } from '../../harness/lifetime.ts';
import { runCommand } from '../../harness/run-command.ts';
import { type DataPlane, startDataPlane } from './data-plane.ts';
import { caddy, envoy, haproxy, nginx, traefik } from './planes.ts';

const SECRET = 'a-secret-of-the-data-plane';

const MISTAKES = [
  'header not copied',
  'fail open',
  'route named by the client',
  'shared decisions',
  'exempt path',
] as const;

type Edit = readonly [from: string | RegExp, to: string];

/** Replacements of the text, or the reason why the data plane cannot make the mistake; and the findings. */
type Mistakes = Readonly<
  Record<(typeof MISTAKES)[number], string | { readonly edits: readonly Edit[]; readonly finding: string }>
> & {
  /** Default: by HTTP. */
  readonly by?: 'grpc' | 'ext_proc';
};

/** From ext_authz by HTTP to gRPC, as config/decisions.md describes it. For several routes, or by match. */
export const BY_GRPC: readonly Edit[] = [
  [
    /^( *)http_service:\n *path_prefix: \/(?:no-route|ext-authz)\n.*\n.*\n.*\n/m,
    '$1transport_api_version: V3\n$1grpc_service: { envoy_grpc: { cluster_name: cambist_decisions }, timeout: 6s }\n$1encode_raw_headers: true\n',
  ],
  [/^( *)http_service:\n *path_prefix: \/ext-authz\/(\w+)\n.*\n.*\n.*\n/gm, '$1context_extensions: { route: $2 }\n'],
  [
    '- name: cambist_decisions\n',
    `- name: cambist_decisions
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          '@type': type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
`,
  ],
];

/** @param copied after it, Envoy does not take the header from the decision @param named after it, a route names another one */
function envoyMistakes(copied: Edit, named: Edit, by?: 'grpc' | 'ext_proc'): Mistakes {
  return {
    ...(by !== undefined && { by }),
    'header not copied': { edits: [copied], finding: 'caller_token_forwarded' },
    'fail open': {
      edits: [[/failure_mode_allow: false/g, 'failure_mode_allow: true']],
      finding: 'caller_token_forwarded undecided_request_passed',
    },
    'route named by the client': {
      edits: [
        [
          /( *)- match: (\{ path_separated_prefix: "\/github") (\}[\s\S]*?)(?=\1- match)/,
          '$1- match: $2, headers: [{ name: x-cambist-route, string_match: { exact: docs } }] $3$1- match: $2 $3',
        ],
        named,
      ],
      finding: 'client_chose_route',
    },
    'shared decisions': 'Envoy keeps no decision',
    'exempt path': {
      edits: [
        [
          /(\n *)(- match: .*oauth-protected-resource \})(\n *route: )(.*)((?:\n.*){2})/,
          '$1- match: { path: /github/health }$3{ cluster: open }$5$1$2$3$4$5',
        ],
        [
          '  clusters:',
          `  clusters:
    - name: open
      load_assignment:
        cluster_name: open
        endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ECHO_PORT } } } }] }]`,
        ],
      ],
      finding: 'caller_token_forwarded undecided_request_passed',
    },
  };
}

/** `ECHO` is the address of the backend. */
const TABLE: readonly (readonly [title: string, DataPlane, Mistakes])[] = [
  [
    'nginx',
    nginx,
    {
      'header not copied': {
        edits: [['proxy_set_header authorization $cambist_credential_authorization;', '']],
        finding: 'caller_token_forwarded',
      },
      'fail open': {
        edits: [
          [
            '500 = @cambist_down;',
            '500 = @open; location @open { auth_request off; proxy_pass http://backend_github; }',
          ],
        ],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
      'route named by the client': {
        edits: [
          ['route github;', 'route github; if ($http_x_cambist_route) { set $cambist_route $http_x_cambist_route; }'],
        ],
        finding: 'client_chose_route',
      },
      'shared decisions': {
        edits: [
          ['events {}\n\nhttp {', 'events {}\nhttp { proxy_cache_path cache keys_zone=decisions:1m;'],
          [
            'proxy_cache off;',
            'proxy_cache decisions; proxy_cache_key $cambist_route; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;',
          ],
        ],
        finding: 'caller_token_forwarded duplicate_token_passed issued_token_shared undecided_request_passed',
      },
      'exempt path': {
        edits: [
          [
            'location / {',
            'location = /github/health { auth_request off; proxy_pass http://backend_github; }\nlocation / {',
          ],
        ],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
    },
  ],
  [
    'haproxy',
    haproxy,
    {
      'header not copied': {
        edits: [['CREDENTIALS = { "authorization" }', 'CREDENTIALS = { }']],
        finding: 'caller_token_forwarded',
      },
      'fail open': {
        edits: [
          [
            'if not removed then',
            'if (response.status or 503) >= 500 then return txn:set_var("txn.allowed", true) end\n  if not removed then',
          ],
        ],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
      'route named by the client': {
        edits: [
          ['.. txn:get_var("txn.route")', '.. ((headers["x-cambist-route"] or {})[0] or txn:get_var("txn.route"))'],
        ],
        finding: 'client_chose_route',
      },
      'shared decisions': "HAProxy's client in Lua keeps no response",
      'exempt path': {
        edits: [
          ['lua.cambist unless metadata', 'lua.cambist unless metadata || { path /github/health }'],
          ['deny_status 503 unless metadata', 'deny_status 503 unless metadata || { path /github/health }'],
        ],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
    },
  ],
  [
    'caddy',
    caddy,
    {
      'header not copied': {
        edits: [[/request_header (?:-authorization|@credential authorization .*)\n/g, '\n']],
        finding: 'caller_token_forwarded',
      },
      'fail open': {
        edits: [['respond @undecided "cambist does not respond" 503', 'reverse_proxy @undecided ECHO']],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
      'route named by the client': {
        edits: [
          [
            'vars cambist asked',
            'map {http.request.header.X-Cambist-Route} {chosen} {\n~(.+) $' +
              '{1}\ndefault github\n}\nvars cambist asked',
          ],
          ['/forward-auth/github', '/forward-auth/{chosen}'],
        ],
        finding: 'client_chose_route',
      },
      'shared decisions': 'reverse_proxy keeps no response',
      'exempt path': {
        edits: [['@github {', 'reverse_proxy /github/health ECHO\n@github {']],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
    },
  ],
  [
    'traefik',
    traefik,
    {
      'header not copied': {
        edits: [['authResponseHeaders: [authorization]', 'authResponseHeaders: []']],
        finding: 'caller_token_forwarded',
      },
      'fail open': {
        edits: [
          ['github-ask,', 'github-open, github-ask,'],
          [
            '    github-ask:',
            "    github-open: { errors: { status: ['500-599'], service: github, query: / } }\n    github-ask:",
          ],
        ],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
      'route named by the client': {
        edits: [
          [
            '  routers:',
            '  routers:\n    chosen: { rule: "PathPrefix(`/github`) && Header(`x-cambist-route`, `docs`)", priority: 10001, middlewares: [cambist-before, docs-ask, github-path-1], service: github }',
          ],
        ],
        finding: 'client_chose_route',
      },
      'shared decisions': 'forwardAuth keeps no response',
      'exempt path': {
        edits: [
          [
            '  routers:',
            '  routers:\n    exempt: { rule: "Path(`/github/health`)", priority: 10001, service: github }',
          ],
        ],
        finding: 'caller_token_forwarded undecided_request_passed',
      },
    },
  ],
  ['envoy', envoy, envoyMistakes([/\{ exact: "authorization" \}, /g, ''], ['/ext-authz/github', '/ext-authz/docs'])],
  [
    'envoy by gRPC',
    envoy,
    envoyMistakes(
      [/( *)encode_raw_headers: true/, '$&\n$1decoder_header_mutation_rules: { disallow_all: true }'],
      ['route: github }', 'route: docs }'],
      'grpc',
    ),
  ],
  [
    'envoy by ext_proc',
    envoy,
    envoyMistakes(
      [/mutation_rules: .*/g, 'mutation_rules: { disallow_all: true }'],
      ['value: github', 'value: docs'],
      'ext_proc',
    ),
  ],
];

function edited(text: string, edits: readonly Edit[], address: string): string {
  return edits.reduce((before, [from, to]) => {
    const echo = to.replaceAll('ECHO_PORT', address.split(':')[1] ?? '').replaceAll('ECHO', address);
    const after = typeof from === 'string' ? before.replace(from, () => echo) : before.replace(from, echo);
    assert.notEqual(after, before, `the config no longer has ${from}`);
    return after;
  }, text);
}

/** Plants each mistake into the config of each data plane, and runs the doctor. @param kinds the data planes */
export function testMistakes(...kinds: readonly SnippetKind[]): void {
  for (const [title, plane, mistakes] of TABLE.filter(([, { kind }]) => kinds.includes(kind))) {
    suite(`doctor --through ${title}`, () => {
      const parts = keepParts();
      let stopping = keepParts();
      const state = {} as {
        app: RunningApp;
        text: string;
        echo: string;
        doctor(url: string, ...more: string[]): Promise<string[]>;
      };
      let start: () => Promise<void>;

      before(async () => {
        const folder = temporaryFolder(parts);
        const write = (name: string, text: string) => {
          writeFileSync(join(folder, name), text);
          return join(folder, name);
        };
        const server = await startFakeAuthorizationServer(parts);
        server.behaviour = ({ form }) =>
          form.get('subject_token')?.includes('.')
            ? { kind: 'issue' }
            : { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
        const docs = await startFakeUpstream(parts, echo);
        state.echo = `127.0.0.1:${await freePort()}`;
        const listener = plane.asksSockets
          ? { listen: `unix:${folder}/decisions.sock` }
          : { listen: `127.0.0.1:${await freePort()}`, secret: { file: write('secret', SECRET) } };
        const config = {
          version: 1,
          listen: `127.0.0.1:${await freePort()}`,
          authorization_servers: { local: clientOf(server) },
          decisions: { [mistakes.by === undefined ? 'http' : 'grpc']: listener },
          routes: [
            { name: 'github', match: { path: '/github' }, upstream: `http://${state.echo}/mcp` },
            { name: 'docs', match: { path: '/docs' }, upstream: `${docs.url}/docs` },
          ],
        };
        const file = write('cambist.json', JSON.stringify(config));
        const tokens = [await server.mint({ subject: 'alice' }), await server.mint({ subject: 'bob' })];
        const [alice = '', bob = ''] = tokens.map((token, at) => write(`token-${at}`, token));
        start = async () => {
          state.app = await startTestApp(stopping, config);
        };
        state.doctor = async (url, ...more) => {
          const args = ['doctor', '--config', file, '--route', 'github', '--through', url, ...more];
          const { stdout, stderr, code } = await runCommand([
            ...args,
            '--json',
            '--subject-token-file',
            alice,
            '--subject-token-file',
            bob,
          ]);
          for (const secret of [...tokens, ...server.requests.flatMap(({ issued }) => issued ?? [])]) {
            assert.ok(!(stdout + stderr).includes(secret), 'a token is shown');
          }
          assert.equal(stderr, '');
          const { findings } = JSON.parse(stdout) as { findings: { code: string; severity: string; what: string }[] };
          const problems = findings.filter(({ severity }) => severity !== 'ok');
          assert.equal(code, problems.length > 0 ? 1 : 0);
          return [...new Set(findings.map(({ code }) => code))].sort();
        };
        const found = snippetFacts(configOf(config));
        if ('problem' in found) throw new Error(found.problem);
        const printed = SNIPPETS[plane.kind]({ ...found.facts, isGrpc: mistakes.by === 'ext_proc' });
        state.text = edited(printed, mistakes.by === 'grpc' ? BY_GRPC : [], state.echo);
      });
      after(async () => {
        await stopping.close();
        await parts.close();
      });

      const stop = async () => {
        await stopping.close();
        stopping = keepParts();
      };

      test('proves that the printed config passes nothing but issued tokens', async (t) => {
        t.after(stop);
        await start();
        const url = await startDataPlane(t, plane, state.text, SECRET);
        assert.deepEqual(await state.doctor(url), ['through_proved']);
        await stop();
        assert.deepEqual(await state.doctor(url, '--stopped'), ['through_proved']);
      });

      for (const name of MISTAKES) {
        const mistake = mistakes[name];
        if (typeof mistake === 'string') continue;
        test(`finds the mistake: ${name}`, async (t) => {
          const text = edited(state.text, mistake.edits, state.echo);
          t.after(stop);
          await start();
          const url = await startDataPlane(t, plane, text, SECRET);
          const flags = name === 'fail open' ? ['--stopped'] : [];
          if (name === 'fail open') await stop();
          assert.deepEqual(await state.doctor(url, ...flags), mistake.finding.split(' '));
        });
      }
    });
  }
}
