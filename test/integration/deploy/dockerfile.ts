export interface Instruction {
  /** Upper case: `FROM`, `COPY`. */
  readonly name: string;
  /** The rest of the line, with continuations joined and global ARGs filled in. */
  readonly value: string;
}

export interface Stage {
  readonly base: string;
  readonly alias: string | undefined;
  readonly instructions: readonly Instruction[];
}

/** Parses the syntax that our Dockerfile uses: comments, continuations, global ARGs, stages. */
export function parseDockerfile(text: string): Stage[] {
  const globals = new Map<string, string>();
  const stages: { base: string; alias: string | undefined; instructions: Instruction[] }[] = [];
  for (const line of logicalLines(text)) {
    const [, name = '', rest = ''] = /^(\w+)\s+(.*)$/s.exec(line) ?? [];
    const value = rest.replace(/\$\{(\w+)\}/g, (reference, key: string) => globals.get(key) ?? reference);
    const current = stages.at(-1);
    if (name === 'FROM') {
      const [base = '', , alias] = value.split(/\s+/);
      stages.push({ base, alias, instructions: [] });
    } else if (current !== undefined) {
      current.instructions.push({ name, value });
    } else {
      const [key = '', fallback = ''] = value.split('=');
      globals.set(key, fallback);
    }
  }
  return stages;
}

/** Sources and destination of a COPY, and the stage of the sources. */
export function parseCopy(value: string): { from: string | undefined; sources: string[]; destination: string } {
  const words = value.split(/\s+/);
  const flags = words.filter((word) => word.startsWith('--'));
  const paths = words.filter((word) => !word.startsWith('--'));
  const from = flags.find((flag) => flag.startsWith('--from='))?.slice('--from='.length);
  return { from, sources: paths.slice(0, -1), destination: paths.at(-1) ?? '' };
}

function logicalLines(text: string): string[] {
  const lines = text.split('\n').filter((line) => !line.startsWith('#'));
  return lines
    .join('\n')
    .replace(/\\\n\s*/g, '')
    .split('\n')
    .filter((line) => line.trim() !== '');
}
