import { parseArgs } from 'node:util';
import { INJECTION_FLAGS, writtenOptions } from '../kubernetes/flags.ts';
import { changeFiles } from '../kubernetes/manifest-files.ts';
import { ManifestError } from '../kubernetes/manifest-stream.ts';
import { injectPod } from '../kubernetes/pod-injection.ts';
import { changeManifest, type Note, type PodChange } from '../kubernetes/workloads.ts';
import { readVersion } from '../version.ts';
import { type Command, EXIT, UsageError } from './command.ts';

/** Puts cambist into every pod of the manifests; the result goes to standard output, what was done to standard error. */
export const inject: Command = async (args) => {
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options: INJECTION_FLAGS });
  const version = readVersion();
  const written = writtenOptions(values);
  return changeAll(positionals, (template, layout) =>
    injectPod(template, { written, layout, version, optIn: false, update: true }),
  );
};

/** Runs a change over all files and prints what comes of it: all of it, or where one is refused, nothing. */
export async function changeAll(files: readonly string[], change: PodChange): Promise<number> {
  if (files.length === 0) throw new UsageError('name the files with the manifests, or - for standard input');
  try {
    const { text, notes } = await changeFiles(files, (manifest) => changeManifest(manifest, change));
    for (const note of notes) console.error(sentence(note));
    const refused = notes.filter(({ outcome }) => outcome === 'refused').length;
    if (refused > 0) {
      console.error(`cambist: ${refused} refused: nothing is printed, so that nothing is applied by half`);
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

function sentence({ object, outcome, reasons }: Note): string {
  return `${object}: ${[outcome, ...(reasons.length === 0 ? [] : [reasons.join('; ')])].join(': ')}`;
}
