import assert from 'node:assert/strict';
import { test } from 'node:test';
import { growthByKind, sumByKind } from './heap-snapshot.ts';

/** A heap in V8's format, with nodes of [type, name, id, self_size, edge_count]. */
function heapOf(nodes: readonly (readonly [type: number, name: number, size: number])[]): string {
  const meta = {
    node_fields: ['type', 'name', 'id', 'self_size', 'edge_count'],
    node_types: [['hidden', 'object', 'string'], 'string', 'number', 'number', 'number'],
  };
  return JSON.stringify({
    snapshot: { meta },
    nodes: nodes.flatMap(([type, name, size], id) => [type, name, id, size, 0]),
    strings: ['', 'Kept', 'a text', 'another text'],
  });
}

test('adds up objects by class, and all strings together', () => {
  const sums = sumByKind(
    heapOf([
      [1, 1, 16],
      [1, 1, 24],
      [2, 2, 100],
      [2, 3, 50],
    ]),
  );
  assert.deepEqual(
    [...sums],
    [
      ['object Kept', 40],
      ['string', 150],
    ],
  );
});

test('says what each caller adds to a heap, the largest first', () => {
  const [before, after] = [
    sumByKind(heapOf([[1, 1, 16]])),
    sumByKind(
      heapOf([
        [1, 1, 56],
        [2, 2, 400],
      ]),
    ),
  ];
  assert.deepEqual(growthByKind(before, after, 4), [
    { kind: 'string', bytes: 100 },
    { kind: 'object Kept', bytes: 10 },
  ]);
});
