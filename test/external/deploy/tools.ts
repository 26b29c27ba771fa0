import { spawn } from 'node:child_process';
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { runTool } from '../../harness/cached-install.ts';
import type { CommandResult } from '../../harness/run-command.ts';
import { cachedFolder } from '../servers/cache.ts';

const SOURCES = ['go.mod', 'go.sum', 'main.go'];
const PACKAGES = ['helm.sh/helm/v4/cmd/helm', 'sigs.k8s.io/kustomize/kustomize/v5', '.'];

/** The path of the chart. */
export const CHART = fileURLToPath(new URL('../../../deploy/helm/cambist', import.meta.url));

export interface DeployTools {
  /** The folder of the programs. */
  readonly bin: string;
  helm(...args: string[]): Promise<CommandResult>;
  kustomize(...args: string[]): Promise<CommandResult>;
  /** A line for each manifest: `accepted`, `custom` for a kind that Kubernetes does not have, or `refused` and the reason. */
  decode(manifests: string): Promise<string[]>;
}

/**
 * Builds helm, kustomize and a strict decoder from Go modules, at the first call.
 * @throws Error if Go is missing, or the module proxy is unreachable
 */
export async function installDeployTools(): Promise<DeployTools> {
  const paths = SOURCES.map((name) => fileURLToPath(new URL(`tools/${name}`, import.meta.url)));
  const pins = await Promise.all(paths.map((path) => readFile(path, 'utf8')));
  const folder = await cachedFolder('deploy-tools', pins, async (draft) => {
    for (const [index, path] of paths.entries()) await copyFile(path, join(draft, SOURCES[index] ?? ''));
    await runTool('go', ['build', '-ldflags', '-s -w', '-o', 'bin/', ...PACKAGES], draft);
  });
  const bin = join(folder, 'bin');
  const run = (name: string, args: string[], input = '') => runProgram(join(bin, name), args, input);
  return {
    bin,
    helm: (...args) => run('helm', args),
    kustomize: (...args) => run('kustomize', args),
    decode: async (manifests) => (await run('strict', [], manifests)).stdout.trimEnd().split('\n'),
  };
}

async function runProgram(command: string, args: string[], input: string): Promise<CommandResult> {
  const child = spawn(command, args, { stdio: 'pipe' });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  child.stdin.end(input);
  const [code, stdout, stderr] = await Promise.all([ended, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}
