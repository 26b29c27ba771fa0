import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatProblem } from '../../../src/config/config-node.ts';

test('formats a problem so that an editor can jump to it', () => {
  const problem = {
    severity: 'error',
    file: 'c.yaml',
    line: 3,
    column: 7,
    path: 'routes[0]',
    message: 'is wrong',
  } as const;
  assert.equal(formatProblem(problem), 'c.yaml:3:7: routes[0]: is wrong');
  assert.equal(formatProblem({ ...problem, severity: 'warning' }), 'c.yaml:3:7: warning: routes[0]: is wrong');
  assert.equal(formatProblem({ ...problem, path: '' }), 'c.yaml:3:7: is wrong');
  assert.equal(formatProblem({ ...problem, line: 0, column: 0, path: '' }), 'c.yaml: is wrong');
});
