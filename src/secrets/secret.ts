import { inspect } from 'node:util';

const PLACEHOLDER = '[secret]';

/** A value that cannot print itself: `String()`, `JSON.stringify`, template strings and `util.inspect` show a placeholder. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** The value itself. Call it where the value is sent, and nowhere else. */
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

/**
 * Makes something of a secret, and gives it again as long as the secret is the same object: as long as its file has not changed.
 * What `make` throws is not remembered.
 */
export function oncePerSecret<Made>(make: (value: string) => Made): (secret: Secret) => Made {
  const all = new WeakMap<Secret, { readonly made: Made }>();
  return (secret) => {
    let known = all.get(secret);
    if (known === undefined) {
      known = { made: make(secret.reveal()) };
      all.set(secret, known);
    }
    return known.made;
  };
}
