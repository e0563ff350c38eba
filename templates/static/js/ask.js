// A question before something that cannot be taken back. Both answers are words for what will happen.

export function ask(question, yes = "Yes", no = "No") {
  const dialog = document.createElement("dialog");
  dialog.className = "question";
  const words = Object.assign(document.createElement("p"), { id: "question", textContent: question });
  dialog.setAttribute("aria-labelledby", words.id);
  const form = Object.assign(document.createElement("form"), { method: "dialog", className: "actions" });
  const answer = (text, value, kind) => Object.assign(document.createElement("button"), { textContent: text, value, className: kind });
  form.append(answer(no, "no", ""), answer(yes, "yes", "primary"));
  dialog.append(words, form);
  document.body.append(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    dialog.showModal(); // the first button has the focus: who presses Enter at once loses nothing
  });
}
