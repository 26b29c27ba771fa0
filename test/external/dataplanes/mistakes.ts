import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import type { SnippetKind } from '../../../src/decisions/snippets.ts';
import { routeTo } from '../../harness/app.ts';
import { startFakeAuthorizationServer } from '../../harness/fake-authorization-server.ts';
import { echo, startFakeUpstream } from '../../harness/fake-upstream.ts';
import { clientOf } from '../../harness/gateway.ts';
import { freePort } from '../../harness/http-server.ts';
import { keepParts, temporaryFolder, writerInto } from '../../harness/lifetime.ts';
import { runCommand } from '../../harness/run-command.ts';
import { type By, type DataPlane, decisionListener, listenerOf, restartable, startDataPlane } from './data-plane.ts';
import { caddy, envoy, haproxy, nginx, printedConfig, traefik } from './planes.ts';

/** The findings of doctor for each mistake. */
const FINDINGS = {
  'header not copied': 'caller_token_forwarded',
  'fail open': 'caller_token_forwarded undecided_request_passed',
  'route named by the client': 'client_chose_route',
  'shared decisions': 'caller_token_forwarded duplicate_token_passed issued_token_shared undecided_request_passed',
  'exempt path': 'caller_token_forwarded undecided_request_passed',
};

type Edit = readonly [from: string | RegExp, to: string];

/** Replacements of the text, or the reason why the data plane cannot make the mistake. */
type Mistakes = Readonly<Record<keyof typeof FINDINGS, string | readonly Edit[]>> & {
  readonly by?: By;
};

/** @param copied after it, Envoy does not take the header from the decision @param named after it, a route names another one */
function envoyMistakes(copied: Edit, named: Edit, by: By = 'http'): Mistakes {
  return {
    by,
    'header not copied': [copied],
    'fail open': [[/failure_mode_allow: false/g, 'failure_mode_allow: true']],
    'route named by the client': [
      [
        /( *)- match: (\{ path_separated_prefix: "\/github") (\}[\s\S]*?)(?=\1- match)/,
        '$1- match: $2, headers: [{ name: x-cambist-route, string_match: { exact: docs } }] $3$1- match: $2 $3',
      ],
      named,
    ],
    'shared decisions': 'Envoy keeps no decision',
    'exempt path': [
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
  };
}

/** `ECHO` is the address of the backend. */
const TABLE: readonly (readonly [title: string, DataPlane, Mistakes])[] = [
  [
    'nginx',
    nginx,
    {
      'header not copied': [['proxy_set_header authorization $cambist_credential_authorization;', '']],
      'fail open': [
        ['500 = @cambist_down;', '500 = @open; location @open { auth_request off; proxy_pass http://backend_github; }'],
      ],
      'route named by the client': [
        ['route github;', 'route github; if ($http_x_cambist_route) { set $cambist_route $http_x_cambist_route; }'],
      ],
      'shared decisions': [
        ['events {}\n\nhttp {', 'events {}\nhttp { proxy_cache_path cache keys_zone=decisions:1m;'],
        [
          'proxy_cache off;',
          'proxy_cache decisions; proxy_cache_key $cambist_route; proxy_cache_valid 200 1m; proxy_ignore_headers Cache-Control;',
        ],
      ],
      'exempt path': [
        [
          'location / {',
          'location = /github/health { auth_request off; proxy_pass http://backend_github; }\nlocation / {',
        ],
      ],
    },
  ],
  [
    'haproxy',
    haproxy,
    {
      'header not copied': [['CREDENTIALS = { "authorization" }', 'CREDENTIALS = { }']],
      'fail open': [
        [
          'if not removed then',
          'if (response.status or 503) >= 500 then return txn:set_var("txn.allowed", true) end\n  if not removed then',
        ],
      ],
      'route named by the client': [
        ['.. txn:get_var("txn.route")', '.. ((headers["x-cambist-route"] or {})[0] or txn:get_var("txn.route"))'],
      ],
      'shared decisions': "HAProxy's client in Lua keeps no response",
      'exempt path': [
        ['lua.cambist unless metadata', 'lua.cambist unless metadata || { path /github/health }'],
        ['deny_status 503 unless metadata', 'deny_status 503 unless metadata || { path /github/health }'],
      ],
    },
  ],
  [
    'caddy',
    caddy,
    {
      'header not copied': [[/request_header (?:-authorization|@credential authorization .*)\n/g, '\n']],
      'fail open': [['respond @undecided "cambist does not respond" 503', 'reverse_proxy @undecided ECHO']],
      'route named by the client': [
        [
          'vars cambist asked',
          'map {http.request.header.X-Cambist-Route} {chosen} {\n~(.+) $' +
            '{1}\ndefault github\n}\nvars cambist asked',
        ],
        ['/forward-auth/github', '/forward-auth/{chosen}'],
      ],
      'shared decisions': 'reverse_proxy keeps no response',
      'exempt path': [['@github {', 'reverse_proxy /github/health ECHO\n@github {']],
    },
  ],
  [
    'traefik',
    traefik,
    {
      'header not copied': [['authResponseHeaders: [authorization]', 'authResponseHeaders: []']],
      'fail open': [
        ['github-ask,', 'github-open, github-ask,'],
        [
          '    github-ask:',
          "    github-open: { errors: { status: ['500-599'], service: github, query: / } }\n    github-ask:",
        ],
      ],
      'route named by the client': [
        [
          '  routers:',
          '  routers:\n    chosen: { rule: "PathPrefix(`/github`) && Header(`x-cambist-route`, `docs`)", priority: 10001, middlewares: [cambist-before, docs-ask, github-path-1], service: github }',
        ],
      ],
      'shared decisions': 'forwardAuth keeps no response',
      'exempt path': [
        ['  routers:', '  routers:\n    exempt: { rule: "Path(`/github/health`)", priority: 10001, service: github }'],
      ],
    },
  ],
  ['envoy', envoy, envoyMistakes([/\{ exact: "authorization" \}, /g, ''], ['/ext-authz/github', '/ext-authz/docs'])],
  [
    'envoy by ext_authz',
    envoy,
    envoyMistakes(
      [/( *)encode_raw_headers: true/, '$&\n$1decoder_header_mutation_rules: { disallow_all: true }'],
      ['route: github }', 'route: docs }'],
      'ext_authz',
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
      const { start: startCambist, stop } = restartable();
      const state = {} as {
        text: string;
        echo: string;
        doctor(url: string, ...more: string[]): Promise<string[]>;
      };
      let start: () => Promise<unknown>;

      before(async () => {
        const folder = temporaryFolder(parts);
        const write = writerInto(folder);
        const server = await startFakeAuthorizationServer(parts);
        server.behaviour = ({ form }) =>
          form.get('subject_token')?.includes('.')
            ? { kind: 'issue' }
            : { kind: 'response', status: 400, body: { error: 'invalid_grant' } };
        const docs = await startFakeUpstream(parts, echo);
        state.echo = `127.0.0.1:${await freePort()}`;
        const config = {
          version: 1,
          listen: `127.0.0.1:${await freePort()}`,
          authorization_servers: { local: clientOf(server) },
          decisions: { [listenerOf(mistakes.by ?? 'http')]: await decisionListener(folder, plane.asksSockets) },
          routes: [routeTo('github', `http://${state.echo}/mcp`), routeTo('docs', `${docs.url}/docs`)],
        };
        const { file } = write('cambist.json', JSON.stringify(config));
        const tokens = [await server.mint({ subject: 'alice' }), await server.mint({ subject: 'bob' })];
        const [alice = '', bob = ''] = tokens.map((token, at) => write(`token-${at}`, token).file);
        start = () => startCambist(config);
        state.doctor = async (url, ...more) => {
          const args = ['doctor', '--json', '--config', file, '--route', 'github', '--through', url, ...more];
          const callers = ['--subject-token-file', alice, '--subject-token-file', bob];
          const { stdout, stderr, code } = await runCommand([...args, ...callers]);
          for (const secret of [...tokens, ...server.requests.flatMap(({ issued }) => issued ?? [])]) {
            assert.ok(!(stdout + stderr).includes(secret), 'a token is shown');
          }
          assert.equal(stderr, '');
          const { findings } = JSON.parse(stdout) as { findings: { code: string; severity: string; what: string }[] };
          const problems = findings.filter(({ severity }) => severity !== 'ok');
          assert.equal(code, problems.length > 0 ? 1 : 0);
          return [...new Set(findings.map(({ code }) => code))].sort();
        };
        state.text = printedConfig(plane, config, mistakes.by);
      });
      after(async () => {
        await stop();
        await parts.close();
      });

      test('proves that the printed config passes nothing but issued tokens', async (t) => {
        t.after(stop);
        await start();
        const url = await startDataPlane(t, plane, state.text);
        assert.deepEqual(await state.doctor(url), ['through_proved']);
        await stop();
        assert.deepEqual(await state.doctor(url, '--stopped'), ['through_proved']);
      });

      for (const [name, finding] of Object.entries(FINDINGS)) {
        const edits = mistakes[name as keyof typeof FINDINGS];
        if (typeof edits === 'string') continue;
        test(`finds the mistake: ${name}`, async (t) => {
          const text = edited(state.text, edits, state.echo);
          t.after(stop);
          await start();
          const url = await startDataPlane(t, plane, text);
          const flags = name === 'fail open' ? ['--stopped'] : [];
          if (name === 'fail open') await stop();
          assert.deepEqual(await state.doctor(url, ...flags), finding.split(' '));
        });
      }
    });
  }
}
