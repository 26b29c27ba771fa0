import { parseArgs } from 'node:util';
import type { ManifestStream } from '../kubernetes/manifest-stream.ts';
import { uninjectPod } from '../kubernetes/pod-restoration.ts';
import { changeManifest } from '../kubernetes/workloads.ts';
import type { Command } from './command.ts';
import { changeAll } from './inject.ts';
import { USAGES } from './usages.ts';

/** Removes from manifests what `inject` added, and restores what it replaced. */
export const uninject: Command = async (args) => {
  const options = USAGES.uninject.flags;
  const { positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const change = (stream: ManifestStream) => stream.change((manifest) => changeManifest(manifest, uninjectPod));
  return changeAll(positionals, () => ({ change }), { dropsPrinted: true });
};
