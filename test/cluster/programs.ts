import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cachedInstall, runTool } from '../harness/cached-install.ts';

/** Paths of what a cluster is made of, without its nodes. */
export interface ClusterPrograms {
  readonly folder: string;
  readonly etcd: string;
  readonly apiServer: string;
}

/** Nothing here has to be fast or debugged, and compiled like this it takes two thirds of the processor's time. */
const FLAGS = ['-gcflags=all=-N -l -dwarf=false', '-ldflags=-s -w'];

const MODULE = ['go.mod', 'go.sum'].map((name) => fileURLToPath(new URL(name, import.meta.url)));

/**
 * Builds etcd, kube-apiserver and kubectl, as their makers publish them, from the Go modules that `go.mod` pins.
 * @throws Error where the machine has no Go, or the module proxy cannot be reached
 */
export async function buildPrograms(): Promise<ClusterPrograms> {
  // Each is named after its package: kube-apiserver, kubectl, and etcd's is called server.
  const folder = await cachedInstall('cluster', MODULE, (draft) =>
    runTool('go', ['build', ...FLAGS, '-o', 'bin/', 'tool'], draft),
  );
  const bin = join(folder, 'bin');
  return { folder: bin, etcd: join(bin, 'server'), apiServer: join(bin, 'kube-apiserver') };
}
