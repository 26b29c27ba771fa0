import assert from 'node:assert/strict';
import { test } from 'node:test';
import { configOf, problemsOf, VALID } from './sample.ts';

const auditOf = (lines: string) => configOf(`${VALID}audit: ${lines}\n`).audit;

/** Problems without their positions. */
const problems = (lines: string): string[] =>
  problemsOf(`${VALID}audit: ${lines}\n`).map((problem) => problem.replace(/^\d+:\d+: /, ''));

test('records nothing without the key', () => {
  assert.equal(configOf(VALID).audit, undefined);
  assert.equal(configOf(VALID).tracing.mcp, false);
});

test('names tools and drops records unless the file says otherwise', () => {
  assert.deepEqual(auditOf('{ to: stdout }'), {
    to: { kind: 'stdout' },
    claims: ['iss', 'sub', 'azp', 'client_id', 'act'],
    tools: true,
    onFull: 'drop',
    pseudonymize: undefined,
  });
});

test('reads each destination', () => {
  assert.deepEqual(auditOf('{ to: unix:/run/audit.sock }')?.to, { kind: 'unix', path: '/run/audit.sock' });
  assert.deepEqual(auditOf('{ to: otlp }')?.to, { kind: 'otlp' });
  assert.deepEqual(auditOf('{ to: { file: /var/log/audit.jsonl } }')?.to, {
    kind: 'file',
    path: '/var/log/audit.jsonl',
  });
});

test('replaces sub, email and preferred_username unless the file lists claims', () => {
  const key = '{ env: AUDIT_KEY }';
  assert.deepEqual(auditOf(`{ to: stdout, pseudonymize: { key: ${key} } }`)?.pseudonymize, {
    key: { env: 'AUDIT_KEY' },
    claims: ['sub', 'email', 'preferred_username'],
  });
  const listed = auditOf(`{ to: stdout, pseudonymize: { key: ${key}, claims: [oid] }, claims: [oid] }`);
  assert.deepEqual(listed?.pseudonymize?.claims, ['oid']);
});

test('refuses an unknown destination, a relative socket and a key in the file', () => {
  assert.deepEqual(problems('{ to: syslog }'), [
    'audit.to: must be stdout, otlp, unix:/path/of/socket, or { file: /path/of/file }',
  ]);
  assert.match(problems('{ to: "unix:audit.sock" }').join(), /^audit\.to: must be "unix:" and the absolute path/);
  assert.match(
    problems('{ to: stdout, pseudonymize: { key: secret } }').join(),
    /^audit\.pseudonymize\.key: must not be in the config itself/,
  );
  assert.match(problems('{}').join(), /^audit/);
});

test('warns of pseudonyms for claims that are not recorded', () => {
  assert.deepEqual(problems('{ to: stdout, claims: [oid], pseudonymize: { key: { env: AUDIT_KEY } } }'), [
    'warning: audit.pseudonymize: has no effect: audit.claims records none of these claims',
  ]);
});
