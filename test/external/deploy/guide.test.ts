import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryFolder } from '../../harness/lifetime.ts';
import { fencedBlocks, readPagesIn } from '../../harness/pages.ts';
import { CHART, helm, rendered } from './render.ts';

const guide = readPagesIn('deploy');
const commands = fencedBlocks(guide, 'sh').flatMap((block) =>
  block
    .replaceAll(/ \\\n */g, ' ')
    .trim()
    .split('\n'),
);

test('every command of the pages that installs the chart renders, with the values of the pages', async (t) => {
  const folder = temporaryFolder(t);
  const [webhook = '', gateway = '', agents = '', svids = '', replicas = '', teams = ''] = fencedBlocks(
    guide,
    'yaml values',
  );
  const files = {
    'webhook.yaml': webhook,
    'gateway.yaml': gateway,
    'agents.yaml': agents,
    'svids.yaml': svids,
    'replicas.yaml': replicas,
    'teams.yaml': teams,
    'valkey-ca.pem': 'a certificate',
    'ca.base64': Buffer.from('a certificate').toString('base64'),
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const installing = commands.filter((command) => command.includes(' deploy/helm/cambist '));
  assert.equal(installing.length, 9);
  for (const command of installing) {
    const args = command
      .replace(/^helm (?:template|upgrade(?: --install)?) /, 'template ')
      .replaceAll("'", '')
      .split(' ')
      .map((word) =>
        word === 'deploy/helm/cambist'
          ? CHART
          : word.replace(/^(?=\w+\.yaml$)|(?<==)(?=(?:valkey-)?ca\.)/, `${folder}/`),
      );
    assert.match(rendered(await helm(...args)).text, /kind: Deployment/);
  }
  const both = ['gateway.yaml', 'svids.yaml'].flatMap((file) => ['--values', join(folder, file)]);
  assert.match(rendered(await helm('template', 'cambist', CHART, ...both)).text, /csi\.spiffe\.io/);
});

test('every folder that a command applies with kustomize has a kustomization', () => {
  const folders = [...guide.matchAll(/(?:apply -k|kubectl kustomize) (deploy[\w/-]*)/g)].map(
    ([, folder = '']) => folder,
  );
  assert.ok(folders.length >= 4);
  for (const folder of folders) assert.ok(existsSync(`${folder}/kustomization.yaml`), folder);
});
