import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';

/** The paths of the programs of a control plane. */
export interface ClusterPrograms {
  readonly folder: string;
  readonly etcd: string;
  readonly apiServer: string;
}

/** Without optimization and debug information, the build takes two thirds of the CPU time. */
const COMPILE = '-gcflags=all=-N -l -dwarf=false';

const MODULE = ['go.mod', 'go.sum'].map((name) => fileURLToPath(new URL(name, import.meta.url)));

/**
 * Builds etcd, kube-apiserver and kubectl from the Go modules that `go.mod` pins.
 * @throws Error if Go is missing, or the module proxy is unreachable
 */
export async function buildPrograms(): Promise<ClusterPrograms> {
  const [, version = ''] = /^\tk8s\.io\/kubernetes (v\S+)/m.exec(await readFile(MODULE[0] ?? '', 'utf8')) ?? [];
  // The version would otherwise be v0.0.0, which a chart with a minimum version refuses.
  const link = `-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=${version}`;
  // Each program is named after its package, so etcd is `server`.
  const folder = await cachedInstall(`cluster-${version}`, MODULE, (draft) =>
    runTool('go', ['build', COMPILE, link, '-o', 'bin/', 'tool'], draft),
  );
  const bin = join(folder, 'bin');
  return { folder: bin, etcd: join(bin, 'server'), apiServer: join(bin, 'kube-apiserver') };
}
