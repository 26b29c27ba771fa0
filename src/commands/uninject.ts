import { parseArgs } from 'node:util';
import { uninjectPod } from '../kubernetes/pod-restoration.ts';
import { type Command, EXIT } from './command.ts';
import { changeAll } from './inject.ts';

/** Takes out of the manifests what `inject` has put into them. */
export const uninject: Command = async (args) => {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { help: { type: 'boolean', short: 'h' } },
  });
  if (values.help) {
    process.stdout.write(USAGE);
    return EXIT.done;
  }
  return changeAll(positionals, uninjectPod);
};

const USAGE = `Usage: cambist uninject FILE... | -

Takes out of the manifests what "cambist inject" has put into them, and gives back what was there before. What was not
injected comes out as it went in.
`;
