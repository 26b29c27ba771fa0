import assert from 'node:assert/strict';
import { test } from 'node:test';
import { format, inspect } from 'node:util';
import { Secret } from '../../../src/config/secret.ts';

test('a secret shows itself only when asked to', () => {
  const secret = new Secret('hunter2');
  const shown = [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }, { depth: 5, showHidden: true }),
    format('%s %o %j', secret, secret, secret),
    Object.values(secret).join(),
  ];
  for (const text of shown) assert.ok(!text.includes('hunter2'), text);
  assert.equal(secret.reveal(), 'hunter2');
});
