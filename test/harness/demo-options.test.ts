import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readDemoOptions } from './demo-options.ts';

const WRONG_USAGE: [args: string[], message: RegExp][] = [
  [['--port', '65536'], /Invalid --port "65536"/],
  [['--port', 'any'], /Invalid --port "any"/],
  [['--backend', 'http://127.0.0.1:9000/mcp'], /--backend requires --keep/],
  [['--keep', '--consent', '--backend', 'http://127.0.0.1:9000/mcp'], /--backend has no effect with --consent/],
  [['--keep', '--backend', 'nowhere'], /Invalid --backend "nowhere"/],
];

for (const [args, message] of WRONG_USAGE) {
  test(`the demo rejects ${args.join(' ')}`, () => {
    assert.throws(() => readDemoOptions(args), message);
  });
}

test('the demo accepts a port and a backend', () => {
  const options = readDemoOptions(['--keep', '--port', '0', '--backend', 'http://127.0.0.1:9000/mcp']);
  assert.deepEqual(
    { ...options },
    { keep: true, port: '0', backend: 'http://127.0.0.1:9000/mcp', consent: false, help: false },
  );
});
