const button = document.getElementById("copy");
if (button) {
  button.addEventListener("click", async () => {
    const list = document.getElementById("list");
    let copied = true;
    try {
      await navigator.clipboard.writeText(list.value);
    } catch {
      list.select();
      copied = document.execCommand("copy");
    }
    document.getElementById("copied").textContent = copied ? "Copied." : "Select the list and copy it.";
  });
}
