// What somebody has typed and not sent yet: whether there is any, and how it outlives a session that is over.

const KEPT_AS = "typed";
const fields = () => [...document.querySelectorAll("main :is(input, select, textarea)")];
const hasTick = (field) => ["checkbox", "radio"].includes(field.type);

function differs(field) {
  if (hasTick(field)) return field.checked !== field.defaultChecked;
  if (!field.matches("select")) return field.value !== field.defaultValue;
  const options = [...field.options];
  const before = options.findLast((option) => option.defaultSelected) ?? options[0];
  return field.selectedOptions[0] !== before;
}

// Whether a page that is loaded again would take something out of its user's hands.
export function isInUse() {
  const writes = document.activeElement?.matches("main :is(input, select, textarea)");
  return writes || Boolean(document.querySelector("dialog[open]")) || fields().some(differs);
}

// Of one user and one page, in this tab alone. Passwords and files are not kept.
export function keepTyped() {
  const typed = fields().filter((field) => field.name && !["password", "file"].includes(field.type) && differs(field));
  const kept = typed.map((field) => ({ ...placeOf(field), value: field.value, checked: field.checked }));
  try {
    sessionStorage.setItem(KEPT_AS, JSON.stringify({ user: document.body.dataset.user, path: location.pathname, kept }));
  } catch {
    // Storage may be forbidden or full; then it is lost.
  }
}

const placeOf = (field) => ({ form: field.form?.getAttribute("action"), name: field.name });

// Once, into the same page of the same user. Returns whether there was anything.
export function bringBackTyped() {
  const { user } = document.body.dataset;
  if (!user) return false; // nobody is logged in yet
  let found = null;
  try {
    found = JSON.parse(sessionStorage.getItem(KEPT_AS));
    sessionStorage.removeItem(KEPT_AS);
  } catch {
    return false;
  }
  if (found?.user !== user || found.path !== location.pathname) return false;
  return found.kept.map(writeBack).some(Boolean);
}

function writeBack({ form, name, value, checked }) {
  const field = fields().find((one) => {
    const place = placeOf(one);
    return place.form === form && place.name === name && (!hasTick(one) || one.value === value);
  });
  if (!field) return false;
  if (hasTick(field)) field.checked = checked;
  else if (!field.matches("select") || [...field.options].some((option) => option.value === value)) field.value = value;
  for (let fold = field.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
  return true;
}
