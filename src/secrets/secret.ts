import { inspect } from 'node:util';

const PLACEHOLDER = '[secret]';

/** A value that never prints. `String()`, `JSON.stringify`, template strings and `util.inspect` show a placeholder. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** Returns the value. Call this only where the value is sent. */
  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return PLACEHOLDER;
  }

  toJSON(): string {
    return PLACEHOLDER;
  }

  [inspect.custom](): string {
    return PLACEHOLDER;
  }
}

/** Derives a value from an object, once. Errors of `make` are not remembered. */
export function oncePer<From extends object, Made>(make: (from: From) => Made): (from: From) => Made {
  const all = new WeakMap<From, { readonly made: Made }>();
  return (from) => {
    let known = all.get(from);
    if (known === undefined) {
      known = { made: make(from) };
      all.set(from, known);
    }
    return known.made;
  };
}

/** Derives a value from a secret, once for each `Secret` object and thus for each change of its file. */
export function oncePerSecret<Made>(make: (value: string) => Made): (secret: Secret) => Made {
  return oncePer((secret) => make(secret.reveal()));
}
