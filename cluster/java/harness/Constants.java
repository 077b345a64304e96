package javacluster.internal;

import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;

/** A constant pool (JVMS 4.4) that is being written; an entry may be there twice. */
public final class Constants {
    private static final int UTF8 = 1;
    private static final int LONG = 5;
    private static final int CLASS = 7;
    private static final int STRING = 8;
    private static final int METHOD = 10;
    private static final int INTERFACE_METHOD = 11;
    private static final int NAME_AND_TYPE = 12;

    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    private final DataOutputStream out = new DataOutputStream(bytes);
    private int count;

    /** The number of each entry is what is returned; text of more than 65,535 bytes is an {@code IOException}. */
    public int text(String value) throws IOException {
        out.writeByte(UTF8);
        out.writeUTF(value);
        return ++count;
    }

    public int type(String name) throws IOException {
        return one(CLASS, text(name));
    }

    public int string(String value) throws IOException {
        return one(STRING, text(value));
    }

    public int number(long value) throws IOException {
        out.writeByte(LONG);
        out.writeLong(value);
        count += 2;  // it takes two numbers
        return count - 1;
    }

    public int method(int owner, String name, String descriptor) throws IOException {
        return pair(METHOD, owner, pair(NAME_AND_TYPE, text(name), text(descriptor)));
    }

    public int interfaceMethod(int owner, String name, String descriptor) throws IOException {
        return pair(INTERFACE_METHOD, owner, pair(NAME_AND_TYPE, text(name), text(descriptor)));
    }

    private int one(int kind, int of) throws IOException {
        out.writeByte(kind);
        out.writeShort(of);
        return ++count;
    }

    private int pair(int kind, int one, int other) throws IOException {
        out.writeByte(kind);
        out.writeShort(one);
        out.writeShort(other);
        return ++count;
    }

    public void writeTo(DataOutputStream target) throws IOException {
        target.writeShort(count + 1);
        bytes.writeTo(target);
    }
}
