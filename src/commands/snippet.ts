import { parseArgs } from 'node:util';
import { snippetFacts, whyLeftOut } from '../decisions/snippet-facts.ts';
import { SNIPPETS, type SnippetKind, whyUnable } from '../decisions/snippets.ts';
import { nearest } from '../documents/nearest.ts';
import { printable } from '../observability/printable.ts';
import { type Command, configFile, EXIT, failed, UsageError } from './command.ts';
import { loadOrReport } from './report-problems.ts';
import { USAGES } from './usages.ts';

/** Prints the config of a data plane that asks cambist for decisions. */
export const snippet: Command = async (args) => {
  const options = USAGES.snippet.flags;
  const { values, positionals } = parseArgs({ args: [...args], allowPositionals: true, options });
  const [kind, ...more] = positionals;
  const kinds = Object.keys(SNIPPETS).join(', ');
  if (kind === undefined || more.length > 0) throw new UsageError(`snippet takes one kind of data plane: ${kinds}`);
  if (!isKind(kind)) {
    const meant = nearest(kind, Object.keys(SNIPPETS));
    throw new UsageError(
      `unknown kind "${kind}": ${meant === undefined ? `use ${kinds}` : `did you mean "${meant}"?`}`,
    );
  }
  const loaded = await loadOrReport(configFile(values.config));
  if (loaded === undefined) return EXIT.failed;
  const { config } = loaded;
  const found = snippetFacts(config, kind, values.route);
  if ('problem' in found) return failed(printable(`cambist: ${found.problem}`));
  const unable = whyUnable(kind, found.facts);
  if (unable !== undefined) return failed(`cambist: ${unable}`);
  const isNamed = found.facts.routesBy === 'name';
  for (const route of values.route === undefined ? config.routes : []) {
    const why = whyLeftOut(route, isNamed);
    if (why !== undefined) console.error(`left out route "${route.name}", because ${why}`);
  }
  process.stdout.write(SNIPPETS[kind](found.facts));
  return EXIT.done;
};

function isKind(text: string): text is SnippetKind {
  return Object.hasOwn(SNIPPETS, text);
}
