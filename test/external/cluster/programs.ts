import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../../harness/cached-install.ts';

/** Paths of what a cluster is made of, without its nodes. */
export interface ClusterPrograms {
  readonly folder: string;
  readonly etcd: string;
  readonly apiServer: string;
}

/** Nothing here has to be fast or debugged, and compiled like this it takes two thirds of the processor's time. */
const COMPILE = '-gcflags=all=-N -l -dwarf=false';

const MODULE = ['go.mod', 'go.sum'].map((name) => fileURLToPath(new URL(name, import.meta.url)));

/**
 * Builds etcd, kube-apiserver and kubectl, as their makers publish them, from the Go modules that `go.mod` pins.
 * @throws Error where the machine has no Go, or the module proxy cannot be reached
 */
export async function buildPrograms(): Promise<ClusterPrograms> {
  const [, version = ''] = /^\tk8s\.io\/kubernetes (v\S+)/m.exec(await readFile(MODULE[0] ?? '', 'utf8')) ?? [];
  // Else it would say v0.0.0, which a chart that asks for a version refuses.
  const link = `-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=${version}`;
  // Each is named after its package: kube-apiserver, kubectl, and etcd's is called server.
  const folder = await cachedInstall(`cluster-${version}`, MODULE, (draft) =>
    runTool('go', ['build', COMPILE, link, '-o', 'bin/', 'tool'], draft),
  );
  const bin = join(folder, 'bin');
  return { folder: bin, etcd: join(bin, 'server'), apiServer: join(bin, 'kube-apiserver') };
}
