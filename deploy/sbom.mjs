import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('..', import.meta.url);
const readJson = (name) => JSON.parse(readFileSync(new URL(name, root), 'utf8'));

/**
 * `npm run --silent sbom` prints the software bill of materials (CycloneDX): every package that cambist ships, from the lock
 * file. The same commit gives the same text with the same npm, so it can be compared with the one of a release.
 */
const args = ['sbom', '--package-lock-only', '--sbom-format=cyclonedx', '--sbom-type=application'];
const options = { cwd: fileURLToPath(root), encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 };
const bom = JSON.parse(execFileSync('npm', args, options));

// Not `--omit=dev`: npm then also drops packages that a tool for development needs as well, such as jose and zod.
const shipped = new Set(
  Object.entries(readJson('package-lock.json').packages)
    .filter(([path, { dev }]) => path !== '' && dev !== true)
    .map(([path, { version }]) => `${path.split('node_modules/').at(-1)}@${version}`),
);
bom.components = bom.components.filter(({ name, version }) => shipped.has(`${name}@${version}`));
const refs = new Set([bom.metadata.component, ...bom.components].map((component) => component['bom-ref']));
bom.dependencies = bom.dependencies
  .filter(({ ref }) => refs.has(ref))
  .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => refs.has(other)) }));

delete bom.serialNumber;
delete bom.metadata.timestamp;
delete bom.metadata.tools;
// npm takes the name of the folder.
bom.metadata.component.name = readJson('package.json').name;
process.stdout.write(`${JSON.stringify(bom, null, 2)}\n`);
