/** What an observer is: some events, each of which is told and answers nothing. */
type Observing<Observer> = { readonly [Event in keyof Observer]: (...told: never[]) => void };

/** An observer that tells two: first the one, then the other. */
export function both<Observer extends Observing<Observer>>(one: Observer, other: Observer): Observer {
  const events = Object.keys(one) as (keyof Observer)[];
  const telling = events.map((event) => {
    const [first, second] = [one[event], other[event]];
    const tell = (...told: never[]): void => {
      first(...told);
      second(...told);
    };
    return [event, tell];
  });
  return Object.fromEntries(telling);
}
