import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { parseConfig } from '../../../src/config/load.ts';
import { formatProblem } from '../../../src/documents/config-node.ts';
import { propertyRuns } from '../../harness/property-runs.ts';
import { FULL, pathsOf, replaceAt } from '../config/mutations.ts';

function holds(text: string, secret: string) {
  for (const problem of parseConfig(text, 'c').problems) {
    assert.ok(!formatProblem(problem).includes(secret), formatProblem(problem));
  }
}

/** Texts that no message contains by itself. */
const secrets = fc
  .array(fc.constantFrom(...'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.~+/=:@?#%&$*!{} '), {
    minLength: 12,
    maxLength: 40,
  })
  .map((characters) => `q9${characters.join('').trim()}z`);

test('no problem shows a secret in place of any value', () => {
  const paths = pathsOf(FULL);
  fc.assert(
    fc.property(fc.constantFrom(...paths), secrets, fc.boolean(), (path, secret, listed) => {
      const value = replaceAt(FULL, path, listed ? [secret] : secret);
      for (const text of [JSON.stringify(value, null, 2), stringify(value)]) holds(text, secret);
    }),
    { numRuns: propertyRuns(300) },
  );
});

test('no problem shows a secret under an unknown key', () => {
  const maps = [[], ...pathsOf(FULL)];
  fc.assert(
    fc.property(
      fc.constantFrom(...maps),
      fc.constantFrom('password', 'client_secrets', 'token'),
      secrets,
      (path, key, secret) => {
        const config = structuredClone(FULL);
        Object(path.reduce<unknown>((part, step) => Object(part)[step], config))[key] = secret;
        holds(JSON.stringify(config), secret);
      },
    ),
    { numRuns: propertyRuns(200) },
  );
});

test('no problem shows a secret at a YAML syntax error', () => {
  const breaks = [
    'client_secret:',
    'client_secret: @',
    'a: b: ',
    '\t',
    '{',
    '- - ',
    '!',
    '*',
    '"',
    "x: '",
    '? ',
    '%',
    '&a ',
  ];
  fc.assert(
    fc.property(fc.constantFrom(...breaks), secrets, (start, secret) => {
      holds(`version: 1\n${start}${secret}`, secret);
      holds(`version: 1\nscope: ${start}${secret}`, secret);
      holds(
        `version: 1\nauthorization_servers:\n  main:\n    client_auth: { method: none, client_secret:${secret} }`,
        secret,
      );
      holds(`version: 1\nauthorization_servers:\n  main:\n    client_auth: { client_secret: { ${secret} } }`, secret);
    }),
    { numRuns: propertyRuns(200) },
  );
});
