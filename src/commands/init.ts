import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { basename, relative } from 'node:path';
import { parseArgs } from 'node:util';
import { parseConfig } from '../config/load.ts';
import { errorCode } from '../errors.ts';
import { type Command, EXIT, UsageError } from './command.ts';
import { type ConfigChoices, newConfig, SECRET_IN_POD } from './new-config.ts';
import { describeProblem, showsColour } from './print-problems.ts';
import { USAGES } from './usages.ts';

/** Values by flag, as written. */
type Answers = Partial<Record<keyof typeof QUESTIONS, string>>;

interface Question {
  readonly text: string;
  /** Used for empty input. Undefined: input is required. */
  readonly fallback?: string;
  readonly isUrl?: true;
}

/** Asked on a terminal, in this order, unless the flag is given. */
const QUESTIONS = {
  backend: { text: 'URL of the backend, an MCP server', isUrl: true },
  issuer: { text: 'Issuer of your authorization server, a URL', isUrl: true },
  'client-id': { text: "Id of cambist's client there", fallback: 'cambist' },
  audience: { text: "The server's name of the backend (Keycloak, Okta, Auth0); empty: its URL", fallback: '' },
} as const satisfies Record<string, Question>;

const NAMES = Object.keys(QUESTIONS) as (keyof typeof QUESTIONS)[];

/** Writes a config file from flags, and from what is typed on a terminal. Never overwrites a file. */
export const init: Command = async (args) => {
  const { values } = parseArgs({ args: [...args], options: USAGES.init.flags });
  const { config: file } = values;
  // Before the questions, and again when the file is written.
  if (existsSync(file)) return failed(exists(file));
  const answers: Answers = { ...values };
  const open = NAMES.filter((name) => answers[name] === undefined);
  const required = open.filter((name) => !('fallback' in QUESTIONS[name]));
  if (required.length > 0) {
    if (process.stdin.isTTY !== true)
      throw new UsageError(`init needs ${required.map((name) => `--${name}`).join(', ')}`);
    if (!(await ask(open, answers))) return failed('\nthe questions were not answered; nothing is written');
  }
  const choices = choicesOf(answers, values);
  const text = newConfig(choices);
  const { config, problems } = parseConfig(text, file);
  if (config === undefined) {
    const colour = showsColour(process.stderr);
    for (const problem of problems) console.error(describeProblem(problem, text, colour));
    return failed(`${file} is not written: correct the values`);
  }
  const failure = await writeNew(file, text);
  if (failure !== undefined) return failed(failure);
  console.log(nextSteps(file, choices));
  return EXIT.done;
};

function failed(message: string): number {
  console.error(message);
  return EXIT.failed;
}

function exists(file: string): string {
  return `${file} exists and is left unchanged: delete it, or name another file with --config`;
}

function choicesOf(
  answers: Answers,
  values: { route: string; scope?: string; 'secret-env'?: string; 'secret-file'?: string; pod?: boolean },
): ConfigChoices {
  const { 'secret-env': env, 'secret-file': secretFile } = values;
  if (env !== undefined && secretFile !== undefined)
    throw new UsageError('--secret-env and --secret-file exclude each other');
  const pod = values.pod === true;
  if (pod && env !== undefined) throw new UsageError('--pod needs the secret as a file: leave out --secret-env');
  const file = secretFile ?? (pod ? SECRET_IN_POD : undefined);
  return {
    route: values.route,
    backend: answers.backend ?? '',
    issuer: answers.issuer ?? '',
    clientId: answers['client-id'] ?? QUESTIONS['client-id'].fallback,
    audience: answers.audience === '' ? undefined : answers.audience,
    scope: values.scope,
    secret: file === undefined ? { env: env ?? 'CAMBIST_CLIENT_SECRET' } : { file },
    pod,
  };
}

/** Asks the open questions. @returns false if the input ends first */
async function ask(open: readonly (keyof typeof QUESTIONS)[], answers: Answers): Promise<boolean> {
  // A script with a code cache cannot import.
  const { createInterface } = process.getBuiltinModule('node:readline/promises');
  const lines = createInterface({ input: process.stdin, output: process.stdout });
  // The iterator keeps lines that come before their question, as when several are pasted. `question` would lose them.
  const typed = lines[Symbol.asyncIterator]();
  try {
    for (const name of open) {
      const question: Question = QUESTIONS[name];
      const { text, fallback } = question;
      lines.setPrompt(`${text}${fallback === undefined || fallback === '' ? '' : ` [${fallback}]`}: `);
      let answer: string | undefined;
      while (answer === undefined) {
        lines.prompt();
        const { done, value } = await typed.next();
        if (done === true) return false;
        answer = accepted(value.trim() === '' ? fallback : value.trim(), question);
        if (answer === undefined) console.log('Write a URL, such as https://example.com/path.');
      }
      answers[name] = answer;
    }
    return true;
  } finally {
    lines.close();
  }
}

function accepted(answer: string | undefined, { isUrl }: Question): string | undefined {
  return answer !== undefined && isUrl === true && !isHttpUrl(answer) ? undefined : answer;
}

/** `localhost:9000/mcp` is a URL too, of the scheme `localhost`. */
function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && ['http:', 'https:'].includes(new URL(text).protocol);
}

/** @returns why the file cannot be written */
async function writeNew(file: string, text: string): Promise<string | undefined> {
  try {
    await writeFile(file, text, { flag: 'wx' });
    return undefined;
  } catch (error) {
    const code = errorCode(error) ?? 'unknown error';
    if (code === 'EEXIST') return exists(file);
    if (code === 'ENOENT') return `${file} cannot be written: its folder does not exist: create the folder first`;
    return `${file} cannot be written (${code}): name another file with --config`;
  }
}

/** The commands that come next, as this program was called. */
function nextSteps(file: string, { route, secret, pod }: ConfigChoices): string {
  const program = programName();
  const written = `${file} is written and valid.`;
  if (pod) {
    return `${written} Next, with the client secret in the file client-secret:
  kubectl create secret generic cambist --from-file=client-secret
  ${program} inject --image IMAGE --config ${file} --secret cambist agent.yaml | kubectl apply -f -`;
  }
  const given = 'env' in secret ? `the client secret in $${secret.env}` : `the client secret in ${secret.file}`;
  return `${written} Next, with ${given} and a caller's token in the file token:
  ${program} doctor --config ${file} --subject-token-file token
  ${program} run --config ${file}
Then give the agent the URL http://127.0.0.1:8180/${route} in place of the backend's.`;
}

function programName(): string {
  const script = process.argv[1] ?? 'cambist';
  return basename(script) === 'main.js' ? `node ${relative('.', script)}` : basename(script);
}
