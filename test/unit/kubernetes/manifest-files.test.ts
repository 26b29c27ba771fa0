import assert from 'node:assert/strict';
import { test } from 'node:test';
import { joinPrinted, joinStreams, PRINTED, removePrinted } from '../../../src/kubernetes/manifest-files.ts';
import { readStream } from '../../../src/kubernetes/manifest-stream.ts';

const CONFIG_MAP = `kind: ConfigMap\nmetadata: {name: c, annotations: ${JSON.stringify(PRINTED)}}\n`;

const STREAMS: Readonly<Record<string, string>> = {
  'without a marker': 'kind: Pod\n',
  'with a marker': '---\nkind: Pod\n',
  'with a marker in CRLF': '---\r\nkind: Pod\r\n',
  'with a marker on the line of its content': '--- {kind: Pod}',
  'with an empty document first': '---\n---\nkind: Pod\n',
  'with a comment before the marker': '# c\n---\nkind: Pod\n',
  'with a directive': '%YAML 1.1\n---\nkind: Pod\n',
  'with a directive after comments and blank lines': '# c\n\n # d\r\n%YAML 1.1\n---\nkind: Pod\n',
  'with a byte order mark': '\uFEFFkind: Pod\n',
  'with a byte order mark and a marker': '\uFEFF---\nkind: Pod\n',
  'with a byte order mark and a directive': '\uFEFF%YAML 1.1\n---\nkind: Pod\n',
  'in JSON': '{"kind":"Pod"}',
};

for (const [what, text] of Object.entries(STREAMS)) {
  test(`puts a ConfigMap before a stream ${what}, and removes it to the byte`, () => {
    const joined = joinPrinted(CONFIG_MAP, text);
    assert.deepEqual(readStream(joined, 'f').manifests.slice(1), readStream(text, 'f').manifests);
    assert.equal(removePrinted(joined, 'f').text, text);
  });

  test(`joins a stream ${what} to another`, () => {
    const [before] = readStream('kind: Service', 'f').manifests;
    const { manifests } = readStream(joinStreams('kind: Service', text), 'f');
    assert.deepEqual(manifests, [before, ...readStream(text, 'f').manifests]);
  });
}

// Work that grows with the square of the text takes minutes here and exceeds the time limit of a test file.
test('finds a directive in time that grows in proportion to the text', () => {
  for (const text of [`#${' #'.repeat(500_000)}`, '# a b\n'.repeat(200_000), `${' '.repeat(1_000_000)}#`]) {
    assert.equal(joinPrinted('a: b\n', text), `a: b\n---\n${text}`);
  }
});
