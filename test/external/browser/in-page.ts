/** Scripts for the page. They are strings, because this project has no types of the browser. */

/** The elements that overflow on the right, as the beginning of their HTML. The content of `pre` scrolls. */
export const OVERFLOWING = `[...document.querySelectorAll('body *:not(pre *)')]
  .filter((element) => element.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((element) => element.outerHTML.slice(0, 80))`;

/** For each element with text: the beginning of its HTML, its colour, and its background colour. */
export const TEXTS_AND_BACKGROUNDS = `(() => {
  const backgroundOf = (element) => {
    const { backgroundColor } = getComputedStyle(element);
    if (backgroundColor !== 'rgba(0, 0, 0, 0)') return backgroundColor;
    return element.parentElement === null ? 'rgb(255, 255, 255)' : backgroundOf(element.parentElement);
  };
  return [...document.querySelectorAll('body *')]
    .filter((element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== ''))
    .map((element) => [element.outerHTML.slice(0, 80), getComputedStyle(element).color, backgroundOf(element)]);
})()`;
