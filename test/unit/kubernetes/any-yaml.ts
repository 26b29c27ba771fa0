import { isArray, isObject, type Json } from '../../../src/kubernetes/json.ts';

/** Chooses one of the given number of forms. */
export type Choose = (count: number) => number;

/** Writes a value in any of the many forms that YAML has for it: block and flow style, explicit keys, empty values, comments. */
export function writeAnyForm(value: Json, choose: Choose): string {
  return new AnyForm(choose).block(value, -1, false).trimStart();
}

const spaces = (count: number): string => ' '.repeat(Math.max(0, count));
const isEmpty = (value: Json): boolean => Object.keys(value ?? {}).length === 0;

class AnyForm {
  readonly #choose: Choose;

  constructor(choose: Choose) {
    this.#choose = choose;
  }

  #one<T>(...values: T[]): T {
    return values[this.#choose(values.length)] as T;
  }

  /** The text after a key or a dash at a column, with its line break. */
  block(value: Json, column: number, afterDash: boolean): string {
    if (typeof value === 'string' && /^[a-z]+(?:[ \n][a-z]+)*$/.test(value) && this.#choose(4) === 0) {
      return ` |-\n${this.#literal(value, column + 1 + this.#choose(3))}`;
    }
    const isCollection = isArray(value) || isObject(value);
    if (!isCollection || isEmpty(value) || this.#choose(5) === 0) {
      const written = value === null ? this.#null() : this.#flow(value, column + 2);
      const before = this.#one(' ', ' ', '  ', ' \t', `\n${spaces(column + 2)}`, ` # c\n${spaces(column + 2)}`);
      return written === '' ? this.#end() : before + written + this.#end();
    }
    const least = isArray(value) && !afterDash && column >= 0 ? 0 : 1;
    const inner = column < 0 ? 0 : column + least + this.#choose(3);
    const lines = this.#lines(value, inner);
    if (afterDash && this.#choose(2) === 0) {
      const compact = column + 2 + this.#choose(2);
      return spaces(compact - column - 1) + this.#lines(value, compact).join('').trimStart();
    }
    return this.#end() + lines.join('');
  }

  #lines(value: Json, column: number): string[] {
    const margin = spaces(column);
    if (isArray(value)) return value.map((item) => `${margin}-${this.block(item, column, true)}`);
    return Object.entries(value ?? {}).flatMap(([name, one], index) => {
      const key = this.#scalar(name);
      const comment = index > 0 ? this.#one('', '', '', `${spaces(this.#choose(column + 1))}# c\n`, '\n') : '';
      if (this.#choose(6) > 0) return [`${comment}${margin}${key}:${this.block(one, column, false)}`];
      if (one === null && this.#choose(2) === 0) return [`${comment}${margin}? ${key}\n`];
      return [`${comment}${margin}? ${key}\n${margin}:${this.block(one, column, true)}`];
    });
  }

  #literal(text: string, column: number): string {
    return text.replace(/^(?=.)/gm, spaces(column + 1)).concat('\n');
  }

  /** The end of a line. */
  #end(): string {
    return this.#one('\n', '\n', '\n', '  \n', ' # c\n', '\n\n', '\n# c\n');
  }

  #null(): string {
    return this.#one('', '', '~', 'null', 'Null');
  }

  #flow(value: Json, column: number): string {
    if (isArray(value))
      return this.#items(
        '[',
        ']',
        value.map((item) => this.#item(item, column)),
        column,
      );
    if (!isObject(value)) return this.#scalar(value);
    return this.#items(
      '{',
      '}',
      Object.entries(value).map(([key, one]) => this.#pair(key, one, column, false)),
      column,
    );
  }

  #items(open: string, close: string, items: readonly string[], column: number): string {
    const parts = items.map((item) => this.#space(column) + item + this.#space(column));
    const comma = items.length > 0 && this.#choose(4) === 0 ? `,${this.#space(column)}` : '';
    const inner = items.length === 0 ? this.#space(column) : parts.join(',');
    return open + inner + comma + close;
  }

  #item(value: Json, column: number): string {
    const [[key, one] = ['', null], ...more] = isObject(value) ? Object.entries(value) : [];
    if (!isObject(value) || isEmpty(value) || more.length > 0 || this.#choose(2) === 0)
      return this.#flow(value, column);
    return this.#pair(key, one, column, true);
  }

  #pair(name: string, value: Json, column: number, isBare: boolean): string {
    const key = this.#scalar(name);
    const isExplicit = this.#choose(6) === 0;
    const mark = isExplicit ? '? ' : '';
    if (value === null && (!isBare || isExplicit) && this.#choose(3) === 0) return mark + key;
    const written = value === null ? this.#null() : this.#flow(value, column);
    const space = isBare ? ' ' : this.#space(column);
    const after = key.startsWith('"') && /^["[{]/.test(written) ? this.#one('', ' ') : ` ${space}`;
    return `${mark}${key}:${written === '' ? ' ' : after}${written}`;
  }

  #space(column: number): string {
    const margin = spaces(column + this.#choose(3));
    return this.#one('', '', ' ', ' ', '  ', '\t', `\n${margin}`, ` # c\n${margin}`, ` #\n\n${margin}`);
  }

  #scalar(value: Json): string {
    if (typeof value !== 'string') return JSON.stringify(value);
    const isWord = /^[a-zA-Z][a-zA-Z]{3,}$/.test(value) && !/^(?:true|false|null)$/i.test(value);
    if (isWord && this.#choose(3) > 0) return value;
    if (/^[ -~]*$/.test(value) && this.#choose(2) === 0) return `'${value.replaceAll("'", "''")}'`;
    return JSON.stringify(value);
  }
}
