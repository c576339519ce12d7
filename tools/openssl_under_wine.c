/* openssl.exe for Wine: runs this machine's openssl, which tests need to make certificates.
 *
 * Wine starts a program of Linux, but gives no handle to wait for it, and no pipe as its stdout.
 * So a shell leaves its output and its status in files, and this program waits for the second.
 * Built by tools/windows_python.py.
 */
#include <stdio.h>
#include <windows.h>

static wchar_t command[32768];

/* Add a word in quotation marks; a path of Windows becomes that of Linux. */
static void add(const wchar_t *word)
{
    char *(CDECL *unix_name)(const wchar_t *) = (void *)GetProcAddress(
        GetModuleHandleA("kernel32"), "wine_get_unix_file_name");
    wchar_t *end = command + wcslen(command);
    if (unix_name && word[0] && word[1] == ':' && (word[2] == '\\' || word[2] == '/'))
        swprintf(end, 4096, L" \"%hs\"", unix_name(word));
    else
        swprintf(end, 4096, L" \"%ls\"", word);
}

int wmain(int count, wchar_t **words)
{
    STARTUPINFOW start = {.cb = sizeof start};
    PROCESS_INFORMATION process;
    wchar_t folder[MAX_PATH], output[MAX_PATH], status[MAX_PATH + 8], line[1024];
    FILE *file = 0;
    int result = 127, number;
    if (!GetTempPathW(MAX_PATH, folder) || !GetTempFileNameW(folder, L"ssl", 0, output))
        return result;
    wcscpy(command, L"sh -c \"o=$1; shift; openssl \\\"$@\\\" >$o 2>&1; echo $? >$o.part; "
                    L"mv $o.part $o.status\" sh");
    add(output);
    for (number = 1; number < count; number++)
        add(words[number]);
    if (!CreateProcessW(L"Z:\\bin\\sh", command, 0, 0, FALSE, 0, 0, 0, &start, &process))
        return result;
    swprintf(status, MAX_PATH + 8, L"%ls.status", output);
    for (number = 0; number < 60000 && !file; number += 5) {
        Sleep(5);
        file = _wfopen(status, L"r");
    }
    if (file) {
        fwscanf(file, L"%d", &result);
        fclose(file);
    }
    if ((file = _wfopen(output, L"r"))) {
        while (fgetws(line, 1024, file))
            fputws(line, stderr);
        fclose(file);
    }
    DeleteFileW(status);
    DeleteFileW(output);
    return result;
}
