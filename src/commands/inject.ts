import { parseArgs } from 'node:util';
import { INJECTION_FLAGS, optionsFromFlags } from '../kubernetes/flags.ts';
import { changeFiles } from '../kubernetes/manifest-files.ts';
import { ManifestError } from '../kubernetes/manifest-stream.ts';
import { injectPod } from '../kubernetes/pod-injection.ts';
import { changeManifest, type Note, type PodChange } from '../kubernetes/workloads.ts';
import { readVersion } from '../version.ts';
import { type Command, EXIT, UsageError } from './command.ts';

/** Injects cambist into every pod of the manifests. Prints the manifests, and one line for each object on standard error. */
export const inject: Command = async (args) => {
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options: INJECTION_FLAGS });
  const version = readVersion();
  const flags = optionsFromFlags(values);
  return changeAll(positionals, (template, layout) =>
    injectPod(template, { flags, layout, version, optIn: false, update: true }),
  );
};

/** Changes the manifests of all files and prints them. If one object is refused, no manifest is printed. */
export async function changeAll(files: readonly string[], change: PodChange): Promise<number> {
  if (files.length === 0) throw new UsageError('name at least one manifest file, or - for standard input');
  try {
    const { text, notes } = await changeFiles(files, (manifest) => changeManifest(manifest, change));
    for (const note of notes) console.error(describe(note));
    const refused = notes.filter(({ outcome }) => outcome === 'refused').length;
    if (refused > 0) {
      console.error(`cambist: ${refused} of ${notes.length} objects refused: no manifest is printed`);
      return EXIT.failed;
    }
    process.stdout.write(text);
    return EXIT.done;
  } catch (error) {
    if (!(error instanceof ManifestError)) throw error;
    console.error(`cambist: ${error.message}`);
    return EXIT.failed;
  }
}

function describe({ object, outcome, reasons }: Note): string {
  return `${object}: ${[outcome, ...(reasons.length === 0 ? [] : [reasons.join('; ')])].join(': ')}`;
}
