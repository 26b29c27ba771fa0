import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { after, test } from 'node:test';
import { parse, stringify } from 'yaml';
import { getIn, type JsonObject, objectsOf } from '../../../src/kubernetes/json.ts';
import { AGENT_MANIFEST } from '../../harness/injected-pod.ts';
import { fencedBlocks } from '../../harness/pages.ts';
import { BUILT_PROGRAM, runCommand } from '../../harness/run-command.ts';
import { parseDocuments } from '../../integration/deploy/manifests.ts';
import { assertSameManifests } from '../../unit/kubernetes/samples.ts';
import { kustomize, rendered } from './render.ts';

const page = async (name: string, language: string) => fencedBlocks(await readFile(`deploy/${name}`, 'utf8'), language);
const [generated = '', transformer = '', labelled = ''] = await page('kustomize.md', 'yaml kustomize');
/** The keys of the config for each way, as the page on interception has them. */
const configs = Object.fromEntries(
  (await page('intercept.md', 'yaml cambist')).map((text, index) => [
    ['proxy', 'names', 'packets'][index],
    parse(text),
  ]),
);
const FLAGS = ['--enable-alpha-plugins', '--enable-exec'];

const folder = await mkdtemp(join(tmpdir(), 'cambist-kustomize-'));
after(() => rm(folder, { recursive: true }));
await mkdir(join(folder, 'bin'));
const program = `#!/bin/sh\nexec ${process.execPath} ${BUILT_PROGRAM} "$@"\n`;
await writeFile(join(folder, 'bin', 'cambist'), program, { mode: 0o755 });
process.env.PATH = `${join(folder, 'bin')}${delimiter}${process.env.PATH}`;

/** Writes a kustomization with the agent and its config. @returns its folder */
async function kustomization(way: string, text: string, agent = AGENT_MANIFEST): Promise<string> {
  const place = await mkdtemp(join(folder, 'overlay-'));
  const config = { ...(parse(await readFile('deploy/cambist.yaml', 'utf8')) as object), ...configs[way] };
  const args = way === 'packets' ? "packets, --redirect-image, 'registry.example.com/cambist-redirect:0.1.0'" : way;
  await writeFile(join(place, 'kustomization.yaml'), text);
  await writeFile(join(place, 'agent.yaml'), agent);
  await writeFile(join(place, 'cambist.yaml'), stringify(config));
  await writeFile(join(place, 'inject.yaml'), transformer.replace('--intercept, names', `--intercept, ${args}`));
  return place;
}

const podOf = (manifests: readonly JsonObject[]): JsonObject => {
  const deployment = manifests.find(({ kind }) => kind === 'Deployment') ?? {};
  return getIn(deployment, ['spec', 'template']) as JsonObject;
};

const initContainersOf = (pod: JsonObject) => objectsOf(getIn(pod, ['spec', 'initContainers'])).map(({ name }) => name);

for (const [way, names] of [
  ['proxy', ['cambist']],
  ['names', ['cambist']],
  ['packets', ['cambist-redirect', 'cambist']],
] as const) {
  test(`${way}: kustomize runs inject as a function, with the config of its ConfigMap`, async () => {
    const place = await kustomization(way, `${generated}transformers: [inject.yaml]\n`);
    const { text, manifests } = rendered(await kustomize('build', ...FLAGS, place));
    assert.deepEqual(manifests.map(({ kind }) => kind).sort(), ['ConfigMap', 'Deployment']);
    assert.doesNotMatch(text, /config\.kubernetes\.io/);
    const pod = podOf(manifests);
    assert.deepEqual(initContainersOf(pod), names);
    const aliases = getIn(pod, ['spec', 'hostAliases', 0, 'hostnames']);
    assert.deepEqual(aliases, way === 'names' ? ['github-mcp.example.com'] : undefined);
  });
}

test('inject after the build has the same result as in the build', async () => {
  const inBuild = await kustomize(
    ...['build', ...FLAGS, await kustomization('names', `${generated}transformers: [inject.yaml]\n`)],
  );
  const build = await kustomize('build', await kustomization('names', generated));
  const args = ['--image', 'registry.example.com/cambist:0.1.0', '--secret', 'cambist', '--intercept', 'names', '-'];
  const injected = await runCommand(['inject', ...args], { input: build.stdout });
  assert.equal(injected.code, 0, injected.stderr);
  assert.deepEqual(podOf(parseDocuments(injected.stdout)), podOf(parseDocuments(inBuild.stdout)));
  assertSameManifests((await runCommand(['uninject', '-'], { input: injected.stdout })).stdout, build.stdout);
});

test('in the build, the pods mount a ConfigMap with a prefix and a hash in its name', async () => {
  const text = generated.replace('disableNameSuffixHash: true', 'disableNameSuffixHash: false');
  const place = await kustomization('names', `${text}namePrefix: prod-\ntransformers: [inject.yaml]\n`);
  const fn = join(place, 'inject.yaml');
  await writeFile(fn, (await readFile(fn, 'utf8')).replace('[inject,', '[inject, --config-map, prod-cambist,'));
  const { manifests } = rendered(await kustomize('build', ...FLAGS, place));
  const name = getIn(manifests.find(({ kind }) => kind === 'ConfigMap') ?? {}, ['metadata', 'name']);
  assert.match(String(name), /^prod-cambist-[a-z0-9]{10}$/);
  const [volume] = objectsOf(getIn(podOf(manifests), ['spec', 'volumes']));
  assert.deepEqual(volume, { name: 'cambist-config', configMap: { name } });
});

test('the build fails with the reason if a pod is refused', async () => {
  const taken = AGENT_MANIFEST.replace('image: agent:1', 'image: agent:1\n        ports: [{ containerPort: 8180 }]');
  const place = await kustomization('proxy', `${generated}transformers: [inject.yaml]\n`, taken);
  const { code, stdout, stderr } = await kustomize('build', ...FLAGS, place);
  assert.notEqual(code, 0);
  assert.equal(stdout, '');
  assert.match(stderr, /deployment\/agent: refused: container "agent" uses port 8180/);
});

test('a function refuses a config file: the ConfigMap of the build has the config', async () => {
  const input = 'apiVersion: config.kubernetes.io/v1\nkind: ResourceList\nitems: []\n';
  const args = ['inject', '--image', 'i:1', '--config', 'deploy/cambist.yaml', '-'];
  const { code, stderr } = await runCommand(args, { input });
  assert.equal(code, 1);
  assert.match(stderr, /a ResourceList has the config in a ConfigMap: leave out --config/);
});

test('the patch for the webhook labels the pods and chooses the way', async () => {
  const pod = podOf(rendered(await kustomize('build', await kustomization('names', labelled))).manifests);
  assert.deepEqual(getIn(pod, ['metadata', 'labels']), { app: 'agent', 'cambist.dev/inject': 'enabled' });
  assert.deepEqual(getIn(pod, ['metadata', 'annotations']), {
    'cambist.dev/secret': 'cambist',
    'cambist.dev/intercept': 'names',
    'cambist.dev/intercept-hosts': 'github-mcp.example.com',
  });
});
