import { parseArgs } from 'node:util';
import { systemClock } from '../clock/clock.ts';
import type { Config, Route } from '../config/config.ts';
import { loadConfig } from '../config/load.ts';
import { formatProblem } from '../config/problem.ts';
import { examine, type Listener } from '../doctor/examine.ts';
import type { GivenToken } from '../doctor/examine-subject.ts';
import { createInstruments } from '../doctor/instruments.ts';
import { createTextReport, type ReportedFinding, summary } from '../doctor/report.ts';
import { createDispatchers } from '../transport/dispatchers.ts';
import { type Command, configFile, EXIT, UsageError } from './command.ts';
import { readGivenToken } from './given-token.ts';
import { USAGES } from './usages.ts';

/**
 * Talks to the authorization servers of a config and tries one exchange per route: what is wrong, why, and what to change.
 * Exit code 1 where anything is wrong; what could not be checked is said, and is no failure.
 */
export const doctor: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.doctor.flags });
  const file = configFile(values.config);
  const { config, problems } = await loadConfig(file);
  if (config === undefined) {
    for (const problem of problems) console.error(formatProblem(problem));
    return EXIT.failed;
  }
  const only = values.route === undefined ? undefined : routeNamed(values.route, config);
  const given =
    values['subject-token-file'] === undefined ? undefined : await readGivenToken(values['subject-token-file']);
  const findings: ReportedFinding[] = [];
  const report = values.json === true ? undefined : createTextReport((line) => console.log(line), showsColour());
  await consult(config, only, given, {
    begins: (patient, title) => report?.begins(patient, title),
    found(patient, finding) {
      findings.push({ about: patient, ...finding });
      report?.found(patient, finding);
    },
  });
  const healthy = findings.every(({ severity }) => severity !== 'error');
  console.log(
    values.json === true ? JSON.stringify({ file, healthy, findings }, null, 2) : `\n${file}: ${summary(findings)}`,
  );
  return healthy ? EXIT.done : EXIT.failed;
};

async function consult(
  config: Config,
  only: Route | undefined,
  given: GivenToken | undefined,
  listener: Listener,
): Promise<void> {
  const dispatchers = createDispatchers(() => {});
  const instruments = createInstruments(dispatchers.for, config.authorizationServers, systemClock);
  try {
    await examine({ config, only, given, instruments, listener });
  } finally {
    await dispatchers.destroy();
  }
}

function routeNamed(name: string, { routes }: Config): Route {
  const route = routes.find((candidate) => candidate.name === name);
  if (route !== undefined) return route;
  throw new UsageError(`there is no route "${name}": it is one of ${routes.map((other) => other.name).join(', ')}`);
}

/** See https://no-color.org. */
function showsColour(): boolean {
  return process.stdout.isTTY === true && (process.env.NO_COLOR ?? '') === '';
}
